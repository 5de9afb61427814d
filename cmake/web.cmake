# The chat page: built from web/ by npm and embedded into the program, so that nothing has to be found at run time.
#
#   carronade_embed_page(target)     adds the page's files to a library
#
# Without CARRONADE_WEB a single page is embedded that says how to get the real one.
set(CARRONADE_WEB_DIR ${CMAKE_SOURCE_DIR}/web CACHE PATH "The page's sources")

function(carronade_embed_page target)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  set(output ${CMAKE_CURRENT_BINARY_DIR}/page)
  set(script ${CMAKE_SOURCE_DIR}/scripts/embed_assets.py)
  if(CARRONADE_WEB)
    set(dist ${CMAKE_BINARY_DIR}/web-dist)
    set(web ${CARRONADE_WEB_DIR})
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${web}/src/* ${web}/public/*)
    list(FILTER sources EXCLUDE REGEX "\\.test\\.ts$")
    foreach(name index.html package.json package-lock.json vite.config.ts svelte.config.js tsconfig.json)
      if(EXISTS ${web}/${name})
        list(APPEND sources ${web}/${name})
      endif()
    endforeach()
    add_custom_command(
      OUTPUT ${dist}/index.html
      COMMAND ${CMAKE_COMMAND} -E env CARRONADE_WEB_DIR=${web}
              bash -c "source scripts/env.sh && scripts/web.sh run build -- --outDir '${dist}' --emptyOutDir --logLevel warn"
      DEPENDS ${sources} ${CMAKE_SOURCE_DIR}/scripts/web.sh
      WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
      COMMENT "Building the page" VERBATIM)
  else()
    set(dist ${CMAKE_CURRENT_SOURCE_DIR}/no_page)
  endif()
  add_custom_command(
    OUTPUT ${output}/web_assets.S ${output}/web_table.cc
    COMMAND ${Python3_EXECUTABLE} ${script} ${dist} ${output}
    DEPENDS ${dist}/index.html ${script}
    COMMENT "Embedding the page" VERBATIM)
  target_sources(${target} PRIVATE ${output}/web_assets.S ${output}/web_table.cc)
  # Its bytes come from files that a compiler cache does not see.
  set_source_files_properties(${output}/web_assets.S PROPERTIES OBJECT_DEPENDS "${dist}/index.html;${output}/web_table.cc")
endfunction()
