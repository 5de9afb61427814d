# One folder of src/ is one room: a static library `carronade_<room>` of its *.cc, and a test program `<room>_test` of its *_test.cc.
#
#   carronade_room(text DEPENDS base LINKS PkgConfig::PCRE2)
#
# DEPENDS names the rooms it may include (only lower storeys), LINKS the libraries. A file whose name ends in an instruction set
# (foo_avx2.cc, foo_i8mm.cc) is compiled for it; nothing outside such files may use its instructions.

set(CARRONADE_ISA_avx2 -mavx2 -mfma -mf16c -mbmi -mbmi2)
set(CARRONADE_ISA_avx512 ${CARRONADE_ISA_avx2} -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni)
set(CARRONADE_ISA_avx512bf16 ${CARRONADE_ISA_avx512} -mavx512bf16)
set(CARRONADE_ISA_amx ${CARRONADE_ISA_avx512bf16})
set(CARRONADE_ISA_dotprod -march=armv8.2-a+dotprod)
set(CARRONADE_ISA_i8mm -march=armv8.2-a+dotprod+i8mm)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(CARRONADE_ISAS avx2 avx512 avx512bf16 amx)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(CARRONADE_ISAS dotprod i8mm)
endif()

function(carronade_room room)
  cmake_parse_arguments(ROOM "" "" "DEPENDS;LINKS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS *.cc)
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER sources EXCLUDE REGEX "/main\\.cc$")

  if(NOT sources)
    set(placeholder ${CMAKE_CURRENT_BINARY_DIR}/${room}_empty.cc)
    file(CONFIGURE OUTPUT ${placeholder} CONTENT "")
    set(sources ${placeholder})
  endif()
  add_library(carronade_${room} STATIC ${sources})
  carronade_flags(carronade_${room})
  foreach(source ${sources})
    foreach(isa ${CARRONADE_ISAS})
      if(source MATCHES "_${isa}\\.cc$")
        set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${CARRONADE_ISA_${isa}}")
      endif()
    endforeach()
  endforeach()
  foreach(dependency ${ROOM_DEPENDS})
    target_link_libraries(carronade_${room} PUBLIC carronade_${dependency})
  endforeach()
  target_link_libraries(carronade_${room} PUBLIC Threads::Threads ${ROOM_LINKS})

  if(BUILD_TESTING AND tests)
    add_executable(${room}_test ${tests})
    carronade_flags(${room}_test)
    target_link_libraries(${room}_test PRIVATE carronade_${room} GTest::gtest_main)
    target_compile_definitions(${room}_test PRIVATE CARRONADE_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    # Pretty values would put addresses into the names of tests.
    gtest_discover_tests(${room}_test TEST_PREFIX "${room}." NO_PRETTY_VALUES DISCOVERY_TIMEOUT 60
                         PROPERTIES TIMEOUT 600 LABELS unit)
  endif()
endfunction()

function(carronade_flags target)
  target_include_directories(${target} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_compile_options(${target} PRIVATE -Wall -Wextra)
  # GCC's warnings are unreliable in instrumented code, as its manual says.
  if(NOT CMAKE_CXX_FLAGS MATCHES "-fsanitize")
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  target_compile_definitions(${target} PRIVATE SPDLOG_FMT_EXTERNAL)
endfunction()
