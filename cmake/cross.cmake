# What the rooms up to the backend link, for a processor whose libraries are not installed: headers alone, which serve any, and GoogleTest from
# the source that Debian packages. /usr/include comes last, so that the cross compiler's own C library stays the one that is found.
add_library(cross_headers INTERFACE)
target_compile_options(cross_headers INTERFACE "SHELL:-idirafter /usr/include")
target_compile_definitions(cross_headers INTERFACE FMT_HEADER_ONLY SPDLOG_FMT_EXTERNAL)
foreach(library spdlog::spdlog fmt::fmt nlohmann_json::nlohmann_json)
  add_library(${library} INTERFACE IMPORTED GLOBAL)
  target_link_libraries(${library} INTERFACE cross_headers)
endforeach()

set(INSTALL_GTEST OFF)
set(BUILD_GMOCK OFF)
add_subdirectory(/usr/src/googletest ${CMAKE_BINARY_DIR}/googletest EXCLUDE_FROM_ALL)
