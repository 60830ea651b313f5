# Language level, warnings, sanitizers, ccache: what every target of rqat is compiled with.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

find_program(RQAT_CCACHE ccache)
if(RQAT_CCACHE)
  # A precompiled header needs these two relaxations to be cached at all.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${RQAT_CCACHE})
endif()

add_library(rqat_settings INTERFACE)
target_include_directories(rqat_settings INTERFACE ${CMAKE_CURRENT_SOURCE_DIR}/include)
# No FMA contraction anywhere: the integer codes must be the same on every machine (docs/architecture.md, one quantiser).
target_compile_options(rqat_settings INTERFACE -Wall -Wextra -Wno-unknown-pragmas -ffp-contract=off -fno-fast-math)
if(RQAT_WERROR)
  target_compile_options(rqat_settings INTERFACE -Werror)
endif()
if(RQAT_SANITIZE)
  target_compile_options(rqat_settings INTERFACE -fsanitize=${RQAT_SANITIZE} -fno-omit-frame-pointer -g1)
  target_link_options(rqat_settings INTERFACE -fsanitize=${RQAT_SANITIZE})
endif()
