#include "base/log.h"

#include "base/structured_log.h"

namespace carronade {

void set_up_logging(const std::string& level) { set_up_logging(level, LogFormat::kText); }

}  // namespace carronade
