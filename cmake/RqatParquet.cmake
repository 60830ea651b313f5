# Parquet files are read by Arrow's C++ library out of the `pyarrow` wheel, which tools/setup unpacks. Whether the one that
# is found fits this compiler is probed; without it a Parquet file is refused with a message.
set(RQAT_PARQUET AUTO CACHE STRING "Read Parquet files with Arrow: AUTO (when it is found), ON, OFF")
set_property(CACHE RQAT_PARQUET PROPERTY STRINGS AUTO ON OFF)
set(RQAT_ARROW "" CACHE PATH "Folder of Arrow (holds include/ and libarrow.so.N, libparquet.so.N), e.g. site-packages/pyarrow")
set(RQAT_HAS_PARQUET FALSE)
set(RQAT_ARROW_LIB_DIRS "")
if(NOT RQAT_PARQUET MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "RQAT_PARQUET is '${RQAT_PARQUET}': expected AUTO, ON or OFF")
endif()

set(_arrow ${RQAT_ARROW})
if(NOT _arrow)
  set(_arrow ${CMAKE_CURRENT_SOURCE_DIR}/.deps/arrow-wheel/pyarrow)
endif()
file(GLOB _arrow_library ${_arrow}/libarrow.so.*)
file(GLOB _parquet_library ${_arrow}/libparquet.so.*)
# Of libarrow.so.2600 and libarrow.so.2600.0.1 the first is what the other library names.
list(SORT _arrow_library)
list(SORT _parquet_library)
if(NOT RQAT_PARQUET STREQUAL "OFF" AND EXISTS ${_arrow}/include/parquet/arrow/reader.h AND _arrow_library AND _parquet_library)
  list(GET _arrow_library 0 _arrow_library)
  list(GET _parquet_library 0 _parquet_library)
  if(NOT RQAT_PARQUET_FITS STREQUAL _arrow_library)
    file(WRITE ${CMAKE_BINARY_DIR}/probe_parquet.cpp "#include <arrow/io/file.h>
#include <parquet/file_reader.h>
int main() { return parquet::ParquetFileReader::OpenFile(std::string(\"none\")) == nullptr; }
")
    try_compile(_fits ${CMAKE_BINARY_DIR}/probe_parquet ${CMAKE_BINARY_DIR}/probe_parquet.cpp
      CMAKE_FLAGS -DINCLUDE_DIRECTORIES=${_arrow}/include -DCMAKE_CXX_STANDARD=20
      LINK_LIBRARIES ${_parquet_library} ${_arrow_library} OUTPUT_VARIABLE _probe_output)
    file(WRITE ${CMAKE_BINARY_DIR}/probe_parquet.log "${_probe_output}")
    if(_fits)
      set(RQAT_PARQUET_FITS ${_arrow_library} CACHE INTERNAL "Arrow that was probed and fits")
    endif()
  endif()
  if(RQAT_PARQUET_FITS STREQUAL _arrow_library)
    set(RQAT_HAS_PARQUET TRUE)
    set(RQAT_ARROW_LIB_DIRS ${_arrow})
    list(APPEND CMAKE_BUILD_RPATH ${_arrow})
    add_library(rqat_arrow INTERFACE)
    target_include_directories(rqat_arrow SYSTEM INTERFACE ${_arrow}/include)
    target_link_libraries(rqat_arrow INTERFACE ${_parquet_library} ${_arrow_library})
  endif()
endif()

if(RQAT_HAS_PARQUET)
  message(STATUS "Parquet: Arrow in ${_arrow}")
elseif(RQAT_PARQUET STREQUAL "ON")
  message(FATAL_ERROR "RQAT_PARQUET=ON, but no Arrow that fits was found in ${_arrow} (${CMAKE_BINARY_DIR}/probe_parquet.log). "
    "Run tools/setup, or set RQAT_ARROW to the folder of pyarrow.")
else()
  message(STATUS "Parquet: off")
endif()

# What module data links, and the one source that sees Arrow's headers.
function(rqat_data_packages target)
  target_link_libraries(${target} PRIVATE ZLIB::ZLIB PkgConfig::ZSTD)
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/src/data/readers/parquet_reader.cpp)
  set_source_files_properties(${source} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  if(RQAT_HAS_PARQUET)
    set_source_files_properties(${source} PROPERTIES COMPILE_DEFINITIONS RQAT_WITH_PARQUET)
    target_link_libraries(${target} PRIVATE rqat_arrow)
  endif()
endfunction()
