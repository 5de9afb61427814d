// The commands of the program, one file each. A command file only reads flags, calls lower rooms and prints.
#pragma once

namespace CLI {
class App;
}

namespace carronade {

// Reads the command line, runs one command, and turns an Error into one line on standard error and exit status 1.
int run_command_line(int argc, char** argv);

// Each adds its commands to the program. Their callbacks run the command; they throw Error when it fails.
void add_serve_command(CLI::App& app);
void add_run_command(CLI::App& app);
void add_bench_command(CLI::App& app);
void add_eval_command(CLI::App& app);
void add_model_commands(CLI::App& app);  // pull list rm
void add_show_command(CLI::App& app);
void add_doctor_command(CLI::App& app);
void add_key_command(CLI::App& app);  // add list revoke

}  // namespace carronade
