# SOCI as Debian packages it, without a CMake file of its own: Soci::Sqlite.
find_path(SOCI_INCLUDE_DIR soci/soci.h REQUIRED)
find_library(SOCI_CORE_LIBRARY soci_core REQUIRED)
find_library(SOCI_SQLITE_LIBRARY soci_sqlite3 REQUIRED)

add_library(Soci::Sqlite INTERFACE IMPORTED)
# As a system folder, so that its headers' warnings are theirs.
target_include_directories(Soci::Sqlite SYSTEM INTERFACE ${SOCI_INCLUDE_DIR})
target_link_libraries(Soci::Sqlite INTERFACE ${SOCI_SQLITE_LIBRARY} ${SOCI_CORE_LIBRARY})
