# The layering check must find each kind of forbidden include, and must accept a clean tree.
# cmake -DSOURCE_DIR=... -DWORK_DIR=... -P layering_rejects.cmake
cmake_minimum_required(VERSION 3.22)
file(REMOVE_RECURSE ${WORK_DIR})
file(WRITE ${WORK_DIR}/layers.txt "ops: base\nbase: \nio: base\ntext: base io\n")

function(expect_layering outcome file content)
  file(REMOVE_RECURSE ${WORK_DIR}/src ${WORK_DIR}/include ${WORK_DIR}/kernels)
  file(WRITE ${WORK_DIR}/src/text/ok.cpp "#include \"rqat/io/files.h\"\n#include \"text/own.h\"\n#include <vector>\n")
  file(WRITE ${WORK_DIR}/${file} "${content}\n")
  execute_process(COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${WORK_DIR} -DLAYERS=${WORK_DIR}/layers.txt
    -P ${SOURCE_DIR}/cmake/CheckLayering.cmake RESULT_VARIABLE result ERROR_VARIABLE error OUTPUT_QUIET)
  if(outcome STREQUAL "accept" AND NOT result EQUAL 0)
    message(FATAL_ERROR "refused, but allowed: ${file}: ${content}\n${error}")
  elseif(outcome STREQUAL "reject" AND (result EQUAL 0 OR NOT error MATCHES "${file}"))
    message(FATAL_ERROR "accepted, but forbidden: ${file}: ${content}\n${error}")
  endif()
endfunction()

expect_layering(accept src/io/a.cpp "#include \"rqat/base/error.h\"")
expect_layering(reject src/io/a.cpp "#include \"rqat/text/tokenizer.h\"")
expect_layering(reject src/io/a.cpp "#  include <rqat/text/tokenizer.h>")
expect_layering(reject include/rqat/base/a.h "#include \"rqat/io/files.h\"")
expect_layering(reject src/text/a.cpp "#include \"io/private.h\"")
expect_layering(reject include/rqat/io/a.h "#include <nlohmann/json.hpp>")
expect_layering(accept src/io/a.cpp "#include <nlohmann/json.hpp>")
expect_layering(reject src/io/a.cpp "#include <yaml-cpp/yaml.h>")
expect_layering(reject kernels/cuda/a.cu "#include <ATen/ATen.h>")
expect_layering(reject kernels/a.cpp "#include \"rqat/io/files.h\"")
