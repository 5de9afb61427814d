#include "cli/commands.h"

int main(int argc, char** argv) { return carronade::run_command_line(argc, argv); }
