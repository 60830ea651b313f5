# Language level, warnings, sanitizers, ccache: what every target of rqat is compiled with.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

# On by default only for the compiler that the project is tested with: a newer one may know new warnings.
set(_werror OFF)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  set(_werror ON)
endif()
option(RQAT_WERROR "Treat warnings as errors" ${_werror})

find_program(RQAT_CCACHE ccache)
if(RQAT_CCACHE)
  # Without these relaxations ccache does not cache what is compiled with a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${RQAT_CCACHE})
endif()

set(RQAT_TEST_TIMEOUT 600)  # seconds that one test may take
if(RQAT_SANITIZE)
  set(RQAT_TEST_TIMEOUT 3600)
endif()

add_library(rqat_settings INTERFACE)
target_include_directories(rqat_settings INTERFACE ${CMAKE_CURRENT_SOURCE_DIR}/include)
# -fPIC for programs too (not -fPIE), because libraries and tests share one precompiled header.
# No FMA contraction anywhere: the integer codes must be the same on every machine (docs/architecture.md, one quantizer).
target_compile_options(rqat_settings INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-fPIC;-Wall;-Wextra;-Wno-unknown-pragmas;-ffp-contract=off;-fno-fast-math>"
  "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-fPIC,-Wall,-Wextra;--fmad=false>")
if(RQAT_WERROR)
  target_compile_options(rqat_settings INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:-Werror>" "$<$<COMPILE_LANGUAGE:CUDA>:--Werror=all-warnings>")
endif()
if(RQAT_SANITIZE)
  # vptr needs the type information of LibTorch's classes, which its libraries do not export.
  set(_sanitize -fsanitize=${RQAT_SANITIZE})
  if(RQAT_SANITIZE MATCHES "undefined")
    list(APPEND _sanitize -fno-sanitize=vptr -fno-sanitize-recover=all)
  endif()
  # Instrumented code of the standard library makes GCC see uninitialized reads and accesses out of bounds that are none; the
  # sanitizers find real ones.
  target_compile_options(rqat_settings INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:${_sanitize};-fno-omit-frame-pointer;-g1>"
    "$<$<CXX_COMPILER_ID:GNU>:$<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized;-Wno-array-bounds;-Wno-stringop-overflow>>")
  target_link_options(rqat_settings INTERFACE ${_sanitize})
  # The sanitizers' own options, in every program.
  add_library(rqat_sanitizer_defaults STATIC ${CMAKE_CURRENT_SOURCE_DIR}/tests/sanitizers/defaults.cpp)
  target_compile_options(rqat_sanitizer_defaults PRIVATE -fPIC ${_sanitize})
  target_compile_definitions(rqat_sanitizer_defaults PRIVATE RQAT_SOURCE_DIR="${CMAKE_CURRENT_SOURCE_DIR}")
  target_link_libraries(rqat_settings INTERFACE rqat_sanitizer_defaults ${CMAKE_DL_LIBS})
  target_link_options(rqat_settings INTERFACE -Wl,-u,rqat_sanitizer_defaults)
endif()
