# xgrammar (constrained decoding): its source archive comes through pip, held to the hash below, and is built once for each compiler
# into a folder outside the build tree, so that a clean build does not build it again.
set(XGRAMMAR_VERSION 0.2.8)
set(XGRAMMAR_SHA256 8305646fd2b319d6c3003f51a1665e54cbbe9cba1fb636bc41d0b46434ccbb80)

if(DEFINED ENV{CARRONADE_CACHE})
  set(cache $ENV{CARRONADE_CACHE})
elseif(DEFINED ENV{XDG_CACHE_HOME})
  set(cache $ENV{XDG_CACHE_HOME}/carronade)
else()
  set(cache $ENV{HOME}/.cache/carronade)
endif()
set(prefix ${cache}/deps/xgrammar-${XGRAMMAR_VERSION}-${CMAKE_CXX_COMPILER_ID}-${CMAKE_CXX_COMPILER_VERSION}-${CMAKE_SYSTEM_PROCESSOR})

if(NOT EXISTS ${prefix}/done)
  message(STATUS "Building xgrammar ${XGRAMMAR_VERSION} once, into ${prefix} (about a minute)")
  set(work ${prefix}.work)
  file(REMOVE_RECURSE ${work} ${prefix})
  file(MAKE_DIRECTORY ${work}/build)
  file(WRITE ${work}/requirements.txt "xgrammar==${XGRAMMAR_VERSION} --hash=sha256:${XGRAMMAR_SHA256}\n")
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -m pip download --quiet --no-deps --require-hashes --no-binary xgrammar
            -r ${work}/requirements.txt -d ${work}
    RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "xgrammar ${XGRAMMAR_VERSION} could not be downloaded through pip; is the package index reachable?")
  endif()
  file(ARCHIVE_EXTRACT INPUT ${work}/xgrammar-${XGRAMMAR_VERSION}.tar.gz DESTINATION ${work})
  # Its own cmake/config.cmake turns the Python bindings on over any flag; a config.cmake in the build folder is read first.
  file(WRITE ${work}/build/config.cmake "set(XGRAMMAR_BUILD_PYTHON_BINDINGS OFF)\n")
  execute_process(
    COMMAND ${CMAKE_COMMAND} -S ${work}/xgrammar-${XGRAMMAR_VERSION} -B ${work}/build -G Ninja
            -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}
            "-DCMAKE_CXX_FLAGS=-fno-lto -Wno-error" -DCMAKE_INSTALL_PREFIX=${prefix} -DCMAKE_INSTALL_LIBDIR=lib
            -DCMAKE_CXX_COMPILER_LAUNCHER=${CMAKE_CXX_COMPILER_LAUNCHER}
    RESULT_VARIABLE failed OUTPUT_QUIET)
  if(NOT failed)
    execute_process(COMMAND ${CMAKE_COMMAND} --build ${work}/build --target install RESULT_VARIABLE failed OUTPUT_QUIET)
  endif()
  if(failed)
    message(FATAL_ERROR "xgrammar did not build; see the output above")
  endif()
  file(REMOVE_RECURSE ${work})
  file(WRITE ${prefix}/done "")
endif()

add_library(xgrammar STATIC IMPORTED GLOBAL)
set_target_properties(xgrammar PROPERTIES IMPORTED_LOCATION ${prefix}/lib/libxgrammar.a
                      INTERFACE_INCLUDE_DIRECTORIES ${prefix}/include INTERFACE_SYSTEM_INCLUDE_DIRECTORIES ${prefix}/include)
