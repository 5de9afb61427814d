#include "cli/line_editor.h"

#include <histedit.h>

#include <clocale>
#include <cstdio>
#include <system_error>

namespace carronade {

struct LineEditor::Impl {
  std::filesystem::path file;
  EditLine* editor = nullptr;
  History* history = nullptr;
  HistEvent event{};
  std::string prompt;
  bool interrupted = false;

  static Impl& of(EditLine* editor) {
    void* self = nullptr;
    ::el_get(editor, EL_CLIENTDATA, &self);
    return *static_cast<Impl*>(self);
  }
  static char* show_prompt(EditLine* editor) { return of(editor).prompt.data(); }
  static unsigned char begin_line(EditLine* editor, int) {
    ::el_insertstr(editor, "\n");
    return CC_REFRESH;
  }
  static unsigned char interrupt(EditLine* editor, int) {
    of(editor).interrupted = true;
    return CC_EOF;
  }
};

namespace {

// Characters are read and measured as UTF-8 whatever the environment says of other things.
void read_utf8() {
  std::setlocale(LC_CTYPE, "");
  if (MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
}

}  // namespace

LineEditor::LineEditor(std::filesystem::path history) : impl_(std::make_unique<Impl>()) {
  read_utf8();
  impl_->file = std::move(history);
  std::error_code ignored;
  std::filesystem::create_directories(impl_->file.parent_path(), ignored);
  impl_->history = ::history_init();
  ::history(impl_->history, &impl_->event, H_SETSIZE, 1000);
  ::history(impl_->history, &impl_->event, H_SETUNIQUE, 1);
  ::history(impl_->history, &impl_->event, H_LOAD, impl_->file.c_str());

  // Standard output belongs to answers.
  EditLine* editor = impl_->editor = ::el_init("carronade", stdin, stderr, stderr);
  ::el_set(editor, EL_CLIENTDATA, impl_.get());
  ::el_set(editor, EL_EDITOR, "emacs");
  ::el_set(editor, EL_PROMPT_ESC, &Impl::show_prompt, '\1');
  ::el_set(editor, EL_HIST, ::history, impl_->history);
  // Ctrl-C as a key: as a signal it would not end the waiting for the next one.
  ::el_set(editor, EL_SETTY, "-d", "-isig", nullptr);
  ::el_set(editor, EL_ADDFN, "begin-line", "Begin another line", &Impl::begin_line);
  ::el_set(editor, EL_ADDFN, "interrupt", "Leave this input", &Impl::interrupt);
  ::el_set(editor, EL_BIND, "\\e^M", "begin-line", nullptr);
  ::el_set(editor, EL_BIND, "\\e^J", "begin-line", nullptr);
  ::el_set(editor, EL_BIND, "^C", "interrupt", nullptr);
  ::el_set(editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  ::el_set(editor, EL_BIND, "\\e[3~", "ed-delete-next-char", nullptr);
}

LineEditor::~LineEditor() {
  ::el_end(impl_->editor);
  ::history_end(impl_->history);
}

LineEditor::Input LineEditor::read(const std::string& prompt, std::string& line) {
  // Bold; what stands between two \1 has no width.
  impl_->prompt = "\1\033[1m\1" + prompt + "\1\033[0m\1";
  impl_->interrupted = false;
  // Before the prompt is there: a key typed as soon as it shows must not be the terminal's to handle.
  ::el_set(impl_->editor, EL_PREP_TERM, 1);
  int size = 0;
  const char* text = ::el_gets(impl_->editor, &size);
  line.clear();
  if (impl_->interrupted) return Input::kInterrupted;
  if (!text || size <= 0) return Input::kEnd;
  line.assign(text, static_cast<size_t>(size));
  if (line.ends_with('\n')) line.pop_back();
  return Input::kLine;
}

void LineEditor::remember(const std::string& input) {
  ::history(impl_->history, &impl_->event, H_ENTER, input.c_str());
  ::history(impl_->history, &impl_->event, H_SAVE, impl_->file.c_str());
}

}  // namespace carronade
