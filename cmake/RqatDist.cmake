# Communication between ranks: Gloo for CPU tensors, NCCL for CUDA tensors. Both live in LibTorch's libraries; what is
# probed here is whether their headers are there and fit. Without them rqat runs as one process.
set(RQAT_HAS_GLOO FALSE)
set(RQAT_HAS_NCCL FALSE)

function(rqat_probe_backend name out include_dirs libraries)
  string(TOUPPER ${name} upper)
  set(file ${CMAKE_BINARY_DIR}/probe_${name}.cpp)
  file(CONFIGURE OUTPUT ${file} CONTENT "#define USE_C10D_${upper}
#include <torch/csrc/distributed/c10d/ProcessGroup@RQAT_PROBE_CLASS@.hpp>
int main() { return c10d::ProcessGroup@RQAT_PROBE_CLASS@::Options::create() == nullptr; }
" @ONLY)
  set(options "")
  foreach(dir ${RQAT_TORCH_LIB_DIRS})
    list(APPEND options -Wl,-rpath-link,${dir})
  endforeach()
  try_compile(${out} ${CMAKE_BINARY_DIR}/probe_${name} ${file}
    CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${RQAT_TORCH_ROOT}/include;${RQAT_TORCH_ROOT}/include/torch/csrc/api/include;${include_dirs}" -DCMAKE_CXX_STANDARD=20
    LINK_OPTIONS ${options}
    LINK_LIBRARIES ${libraries} ${RQAT_TORCH_ROOT}/lib/libtorch_cpu.so ${RQAT_TORCH_ROOT}/lib/libc10.so
    OUTPUT_VARIABLE ${out}_OUTPUT)
  file(WRITE ${CMAKE_BINARY_DIR}/probe_${name}.log "${${out}_OUTPUT}")
endfunction()

option(RQAT_GLOO "Several ranks on CPU, where Gloo's headers are found" ON)
find_path(RQAT_GLOO_INCLUDE gloo/algorithm.h)
if(RQAT_GLOO AND RQAT_GLOO_INCLUDE)
  if(NOT DEFINED RQAT_GLOO_FITS)
    set(RQAT_PROBE_CLASS Gloo)
    rqat_probe_backend(gloo RQAT_GLOO_FITS ${RQAT_GLOO_INCLUDE} "")
  endif()
  set(RQAT_HAS_GLOO ${RQAT_GLOO_FITS})
endif()
if(RQAT_HAS_GLOO)
  message(STATUS "Ranks on CPU: Gloo (headers in ${RQAT_GLOO_INCLUDE})")
elseif(NOT RQAT_GLOO)
  message(STATUS "Ranks on CPU: off (RQAT_GLOO)")
elseif(RQAT_GLOO_INCLUDE)
  message(STATUS "Ranks on CPU: off, the headers in ${RQAT_GLOO_INCLUDE} do not fit this LibTorch (${CMAKE_BINARY_DIR}/probe_gloo.log)")
else()
  message(STATUS "Ranks on CPU: off, no gloo/algorithm.h (apt-get install libgloo-dev, or tools/setup; then configure again)")
endif()

if(RQAT_HAS_CUDA)
  find_path(RQAT_NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  if(RQAT_NCCL_INCLUDE)
    if(NOT DEFINED RQAT_NCCL_FITS)
      set(RQAT_PROBE_CLASS NCCL)
      rqat_probe_backend(nccl RQAT_NCCL_FITS "${RQAT_NCCL_INCLUDE};${CUDAToolkit_INCLUDE_DIRS}"
        "-Wl,--no-as-needed;${RQAT_TORCH_ROOT}/lib/libtorch_cuda.so;${RQAT_TORCH_ROOT}/lib/libc10_cuda.so")
    endif()
    set(RQAT_HAS_NCCL ${RQAT_NCCL_FITS})
  endif()
  if(RQAT_HAS_NCCL)
    message(STATUS "Ranks on GPUs: NCCL (headers in ${RQAT_NCCL_INCLUDE})")
  else()
    message(STATUS "Ranks on GPUs: off, nccl.h of this LibTorch's NCCL not found (apt-get install libnccl-dev; set RQAT_NCCL_INCLUDE)")
  endif()
endif()

# Gives module dist what the probes found.
function(rqat_dist_backends target)
  # c10d's headers reach for <torch/types.h>.
  target_include_directories(${target} SYSTEM PRIVATE ${RQAT_TORCH_ROOT}/include/torch/csrc/api/include)
  if(RQAT_HAS_GLOO)
    target_compile_definitions(${target} PRIVATE RQAT_WITH_GLOO)
    target_include_directories(${target} SYSTEM PRIVATE ${RQAT_GLOO_INCLUDE})
  endif()
  if(RQAT_HAS_NCCL)
    target_compile_definitions(${target} PRIVATE RQAT_WITH_NCCL)
    target_include_directories(${target} SYSTEM PRIVATE ${RQAT_NCCL_INCLUDE} ${CUDAToolkit_INCLUDE_DIRS})
    target_link_libraries(${target} PUBLIC rqat_torch_cuda)
  endif()
endfunction()
