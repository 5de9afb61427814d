# cmake -DINPUT=<file> -DOUTPUT=<file.inc> -P embed_text.cmake: a text file as adjacent raw string literals for #include. They are cut
# into lines because a compiler may limit the length of one literal.
file(READ ${INPUT} content)
string(REPLACE ";" "\\;" content "${content}")
string(REPLACE "\n" "\n)embed\"\nR\"embed(" content "${content}")
file(WRITE ${OUTPUT} "R\"embed(${content})embed\"\n")
