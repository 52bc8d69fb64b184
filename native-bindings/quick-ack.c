#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/socket.h>

#include "bindings.h"

/*
 * acknowledgeNow(descriptor): the kernel sends the acknowledgement that it holds back for a TCP connection, and holds none back
 * until it thinks better of it, which it does with the next answer; so this is called for each read. Returns 0 or the error number.
 */
napi_value acknowledge_now(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  int32_t descriptor;
  if (napi_get_cb_info(env, info, &count, &argument, NULL, NULL) != napi_ok || count < 1 ||
      napi_get_value_int32(env, argument, &descriptor) != napi_ok) {
    napi_throw_type_error(env, NULL, "acknowledgeNow takes the number of a descriptor");
    return NULL;
  }
  const int on = 1;
  const int result = setsockopt(descriptor, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
  return error_number(env, result == 0 ? 0 : errno);
}
