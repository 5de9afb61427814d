#include "checkpoint/json_file.h"

#include <set>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/byte_cursor.h"

namespace carronade {
namespace {

// Walks over the text without building anything and stops at what a limit forbids.
class Inspector : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Inspector(int most_depth) : most_depth_(most_depth) {}
  const std::string& complaint() const { return complaint_; }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(int64_t) override { return true; }
  bool number_unsigned(uint64_t) override { return true; }
  bool number_float(double, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(nlohmann::json::binary_t&) override { return true; }
  bool start_object(size_t) override { return enter(); }
  bool start_array(size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }

  bool key(std::string& name) override {
    if (keys_.back().insert(name).second) return true;
    complaint_ = fmt::format("the key \"{}\" stands twice in one object", printable(name));
    return false;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    complaint_ = fmt::format("not valid JSON at byte {}: {}", position, printable(error.what()));
    return false;
  }

 private:
  bool enter() {
    keys_.emplace_back();
    if (keys_.size() <= static_cast<size_t>(most_depth_)) return true;
    complaint_ = fmt::format("the JSON nests deeper than {} levels", most_depth_);
    return false;
  }
  bool leave() {
    keys_.pop_back();
    return true;
  }

  int most_depth_;
  std::vector<std::set<std::string>> keys_;
  std::string complaint_;
};

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& file, int most_depth) {
  Inspector inspector(most_depth);
  if (!nlohmann::json::sax_parse(text, &inspector)) {
    throw Error(ErrorCode::kCorruptFile, file + ": " + inspector.complaint(), file);
  }
  return nlohmann::json::parse(text);
}

std::optional<nlohmann::json> read_json_object(const std::filesystem::path& path) {
  constexpr int kMostDepth = 32;
  if (!std::filesystem::exists(path)) return std::nullopt;
  nlohmann::json json = parse_json(read_file(path, kMostConfigBytes), path.string(), kMostDepth);
  if (!json.is_object())
    throw Error(ErrorCode::kCorruptFile, path.string() + ": a JSON object is expected", path.string());
  return json;
}

}  // namespace carronade
