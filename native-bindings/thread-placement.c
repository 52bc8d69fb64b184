#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>

#include "bindings.h"

/* With its terminating zero: TASK_COMM_LEN of the kernel. */
#define NAME_BYTES_MAX 16

/* The most CPUs that a kernel for x86-64 or arm64 is built for; src/core/thread-limits.ts has the same number. */
#define CPUS_MAX 8192

static napi_value refuse(napi_env env, const char *text) {
  napi_throw_type_error(env, NULL, text);
  return NULL;
}

/* setThreadName(name): names the calling thread for top, ps and perf. Returns 0 or the error number, ERANGE above 15 bytes. */
napi_value set_thread_name(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  char name[NAME_BYTES_MAX + 1];
  size_t length;
  if (napi_get_cb_info(env, info, &count, &argument, NULL, NULL) != napi_ok || count < 1 ||
      napi_get_value_string_utf8(env, argument, name, sizeof name, &length) != napi_ok) {
    return refuse(env, "setThreadName takes a name");
  }
  /* A zero inside would end the name there in silence. */
  if (memchr(name, 0, length) != NULL) return error_number(env, EINVAL);
  return error_number(env, pthread_setname_np(pthread_self(), name));
}

/* threadName(): of the calling thread. */
napi_value thread_name(napi_env env, napi_callback_info info) {
  (void)info;
  char name[NAME_BYTES_MAX];
  napi_value result;
  if (pthread_getname_np(pthread_self(), name, sizeof name) != 0) name[0] = 0;
  return napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &result) == napi_ok ? result : NULL;
}

/* pinThread(cpus): the calling thread runs on these CPUs only. Returns 0 or the error number, EINVAL where there is none of them. */
napi_value pin_thread(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  uint32_t length;
  if (napi_get_cb_info(env, info, &count, &argument, NULL, NULL) != napi_ok || count < 1 ||
      napi_get_array_length(env, argument, &length) != napi_ok) {
    return refuse(env, "pinThread takes an array of CPU numbers");
  }
  cpu_set_t *cpus = CPU_ALLOC(CPUS_MAX);
  if (cpus == NULL) return error_number(env, ENOMEM);
  const size_t size = CPU_ALLOC_SIZE(CPUS_MAX);
  CPU_ZERO_S(size, cpus);
  for (uint32_t at = 0; at < length; at++) {
    napi_value element;
    double cpu;
    if (napi_get_element(env, argument, at, &element) != napi_ok ||
        napi_get_value_double(env, element, &cpu) != napi_ok || !(cpu >= 0 && cpu < CPUS_MAX) ||
        cpu != (double)(uint32_t)cpu) {
      CPU_FREE(cpus);
      return refuse(env, "pinThread takes an array of CPU numbers");
    }
    CPU_SET_S((size_t)cpu, size, cpus);
  }
  const int result = sched_setaffinity(0, size, cpus);
  const int error = result == 0 ? 0 : errno;
  CPU_FREE(cpus);
  return error_number(env, error);
}

/* threadCpus(): those that the calling thread may run on, ascending. */
napi_value thread_cpus(napi_env env, napi_callback_info info) {
  (void)info;
  cpu_set_t *cpus = CPU_ALLOC(CPUS_MAX);
  if (cpus == NULL) return NULL;
  const size_t size = CPU_ALLOC_SIZE(CPUS_MAX);
  CPU_ZERO_S(size, cpus);
  napi_value result = NULL;
  uint32_t length = 0;
  napi_status status = napi_create_array(env, &result);
  if (sched_getaffinity(0, size, cpus) == 0) {
    for (uint32_t cpu = 0; cpu < CPUS_MAX && status == napi_ok; cpu++) {
      napi_value element;
      if (!CPU_ISSET_S(cpu, size, cpus)) continue;
      status = napi_create_uint32(env, cpu, &element);
      if (status == napi_ok) status = napi_set_element(env, result, length++, element);
    }
  }
  CPU_FREE(cpus);
  return status == napi_ok ? result : NULL;
}
