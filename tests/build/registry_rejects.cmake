# A line in a .def without its file, and a file without its line, must each stop the configure step.
# cmake -DSOURCE_DIR=... -DWORK_DIR=... -P registry_rejects.cmake
cmake_minimum_required(VERSION 3.22)
function(expect_registry pattern)
  execute_process(COMMAND ${CMAKE_COMMAND} -S ${WORK_DIR} -B ${WORK_DIR}/out
    RESULT_VARIABLE result ERROR_VARIABLE error OUTPUT_QUIET)
  string(REGEX REPLACE "[ \n]+" " " error "${error}")
  if(pattern STREQUAL "" AND NOT result EQUAL 0)
    message(FATAL_ERROR "a matching registry was refused: ${error}")
  elseif(NOT pattern STREQUAL "" AND (result EQUAL 0 OR NOT error MATCHES "${pattern}"))
    message(FATAL_ERROR "expected an error with '${pattern}', got: ${error}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK_DIR})
file(WRITE ${WORK_DIR}/CMakeLists.txt "cmake_minimum_required(VERSION 3.22)\nproject(registries LANGUAGES NONE)\n"
  "include(${SOURCE_DIR}/cmake/RqatRegistries.cmake)\nrqat_check_registries(${WORK_DIR}/src)\n")
file(WRITE ${WORK_DIR}/src/things.def "RQAT_ENTRY(first)\nRQAT_ENTRY(second)\n")
file(WRITE ${WORK_DIR}/src/things/first.cpp "")
file(WRITE ${WORK_DIR}/src/things/second.cpp "")
expect_registry("")
file(WRITE ${WORK_DIR}/src/things/third.cpp "")
expect_registry("third.cpp has no line RQAT_ENTRY.third.")
file(REMOVE ${WORK_DIR}/src/things/third.cpp ${WORK_DIR}/src/things/second.cpp)
expect_registry("lists 'second'")
