/* The addon's one entry: what Node.js itself has no way to ask of the kernel. Plain C, the C library and Node-API. */
#include "bindings.h"

struct exported_function {
  const char *name;
  napi_callback call;
};

static const struct exported_function exported_functions[] = {
    {"acknowledgeNow", acknowledge_now}, {"setThreadName", set_thread_name}, {"threadName", thread_name},
    {"pinThread", pin_thread},           {"threadCpus", thread_cpus},
};

napi_value error_number(napi_env env, int error) {
  napi_value result;
  return napi_create_int32(env, error, &result) == napi_ok ? result : NULL;
}

/* Runs once for each thread that loads the addon. An exception that is pending when it returns is thrown by `require`. */
NAPI_MODULE_INIT(/* napi_env env, napi_value exports */) {
  napi_value value;
  if (napi_create_int32(env, INTERFACE_VERSION, &value) != napi_ok ||
      napi_set_named_property(env, exports, "interfaceVersion", value) != napi_ok) {
    return NULL;
  }
  for (size_t at = 0; at < sizeof exported_functions / sizeof exported_functions[0]; at++) {
    const struct exported_function *function = &exported_functions[at];
    if (napi_create_function(env, function->name, NAPI_AUTO_LENGTH, function->call, NULL, &value) != napi_ok ||
        napi_set_named_property(env, exports, function->name, value) != napi_ok) {
      return NULL;
    }
  }
  return exports;
}
