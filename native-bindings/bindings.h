/* What the files of the addon share. Linux only: the build script does not come here elsewhere. */
#ifndef MILLRACE_BINDINGS_H
#define MILLRACE_BINDINGS_H

/* The last version that every Node.js from 20 on has; what is built once runs on all of them. */
#define NAPI_VERSION 8
#include <node_api.h>

/*
 * Raised with every change of what is exported or of what it means. src/native/native-bindings.ts has the same number, and takes
 * no addon with another one.
 */
#define INTERFACE_VERSION 2

/* module.c has the table of them. Each may be called in any thread of Node.js, and keeps no state. */
napi_value acknowledge_now(napi_env env, napi_callback_info info);
napi_value set_thread_name(napi_env env, napi_callback_info info);
napi_value thread_name(napi_env env, napi_callback_info info);
napi_value pin_thread(napi_env env, napi_callback_info info);
napi_value thread_cpus(napi_env env, napi_callback_info info);

/* The value of a call into the kernel: 0, or the number of its error. */
napi_value error_number(napi_env env, int error);

#endif
