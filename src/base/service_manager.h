// Telling systemd how a service is doing. Source: sd_notify(3), which says that its protocol may be spoken without the
// library: one datagram of "NAME=value" lines to the socket that $NOTIFY_SOCKET names.
#pragma once

#include <string_view>

namespace carronade {

// "READY=1", "STATUS=loading the model", "STOPPING=1". False where nobody listens, which is no error.
bool notify_service_manager(std::string_view state);

}  // namespace carronade
