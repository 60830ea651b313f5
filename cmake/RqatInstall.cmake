# `cmake --install build --prefix DIR` gives a folder that can be moved: bin/rqat finds its libraries in ../lib.
# With RQAT_INSTALL_LIBTORCH the libraries from the LibTorch, NVIDIA and Arrow wheels are copied there; those of the system
# (yaml-cpp, spdlog, ICU ..., in a CUDA build also the CUDA toolkit's) are expected on the target machine.
set_target_properties(rqat PROPERTIES INSTALL_RPATH "$ORIGIN/../lib")
install(TARGETS rqat RUNTIME DESTINATION bin)
install(DIRECTORY recipes configs DESTINATION share/rqat)
install(FILES LICENSE DESTINATION share/doc/rqat)
if(RQAT_INSTALL_LIBTORCH)
  install(CODE "set(program \"$<TARGET_FILE:rqat>\")\nset(torch_lib_dirs \"${RQAT_TORCH_LIB_DIRS};${RQAT_ARROW_LIB_DIRS}\")")
  install(SCRIPT ${CMAKE_CURRENT_SOURCE_DIR}/cmake/InstallLibTorch.cmake)
else()
  # Not relocatable beyond this machine: the program goes on using the LibTorch that it was built with.
  set_property(TARGET rqat APPEND PROPERTY INSTALL_RPATH ${RQAT_TORCH_LIB_DIRS} ${RQAT_ARROW_LIB_DIRS})
endif()
