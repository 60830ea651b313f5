# Makes the targets rqat_torch (libtorch_cpu, libc10) and, where the files exist and link, rqat_torch_cuda.
# TorchConfig.cmake is not used: it insists on a CUDA toolkit even for CPU programs.
set(RQAT_LIBTORCH "" CACHE PATH "Folder of LibTorch (holds include/ and lib/), e.g. site-packages/torch")
include(FindLibTorch)
rqat_find_libtorch(${CMAKE_CURRENT_SOURCE_DIR} RQAT_TORCH_ROOT)
if(NOT RQAT_TORCH_ROOT)
  message(FATAL_ERROR "LibTorch >= ${RQAT_TORCH_MINIMUM} not found. Run tools/setup, or set RQAT_LIBTORCH to a folder with include/ and lib/.")
endif()
rqat_libtorch_version(${RQAT_TORCH_ROOT} RQAT_TORCH_VERSION)
message(STATUS "LibTorch: ${RQAT_TORCH_VERSION} in ${RQAT_TORCH_ROOT}")

# Run-time libraries of the NVIDIA wheels that lie beside the torch wheel.
get_filename_component(_site ${RQAT_TORCH_ROOT} DIRECTORY)
file(GLOB RQAT_NVIDIA_LIB_DIRS ${_site}/nvidia/*/lib)
set(RQAT_TORCH_LIB_DIRS ${RQAT_TORCH_ROOT}/lib ${RQAT_NVIDIA_LIB_DIRS})
set(CMAKE_BUILD_RPATH ${RQAT_TORCH_LIB_DIRS})

foreach(library torch_cpu c10)
  add_library(rqat_lib_${library} SHARED IMPORTED)
  set_target_properties(rqat_lib_${library} PROPERTIES IMPORTED_LOCATION ${RQAT_TORCH_ROOT}/lib/lib${library}.so)
endforeach()
add_library(rqat_torch INTERFACE)
target_include_directories(rqat_torch SYSTEM INTERFACE ${RQAT_TORCH_ROOT}/include)
target_link_libraries(rqat_torch INTERFACE rqat_lib_torch_cpu rqat_lib_c10)
# LibTorch's own OpenMP runtime: two of them in one process would fight for the cores.
file(GLOB _gomp ${RQAT_TORCH_ROOT}/lib/libgomp*.so*)
if(_gomp)
  target_link_libraries(rqat_torch INTERFACE ${_gomp})
else()
  target_link_options(rqat_torch INTERFACE -fopenmp)
endif()
if(NOT RQAT_FUZZ)  # clang would want an OpenMP runtime of its own; loops run in one thread without
  target_compile_options(rqat_torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
endif()
foreach(dir ${RQAT_TORCH_LIB_DIRS})
  target_link_options(rqat_torch INTERFACE -Wl,-rpath-link,${dir})
endforeach()

# torch_cuda registers its kernels when it is loaded; nothing refers to it, hence --no-as-needed.
if(EXISTS ${RQAT_TORCH_ROOT}/lib/libtorch_cuda.so AND EXISTS ${RQAT_TORCH_ROOT}/lib/libc10_cuda.so)
  add_library(rqat_torch_cuda INTERFACE)
  target_link_libraries(rqat_torch_cuda INTERFACE rqat_torch
    -Wl,--push-state,--no-as-needed ${RQAT_TORCH_ROOT}/lib/libtorch_cuda.so ${RQAT_TORCH_ROOT}/lib/libc10_cuda.so
    -Wl,--pop-state)
endif()
