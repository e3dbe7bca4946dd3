/* A plugin that breaks the rules of the ABI: at its start as [plugins.faults] fault = "..." says, in calls by their name. */
#include <stdlib.h>
#include <string.h>

#include "framex.h"

static const FramexHost *host;

static FramexSlice text(const char *bytes) {
    return (FramexSlice){(const uint8_t *)bytes, strlen(bytes)};
}

static void free_bytes(uint8_t *bytes, size_t len, size_t cap) {
    (void)len;
    (void)cap;
    free(bytes);
}

static FramexBuffer copy(const void *bytes, size_t len) {
    uint8_t *owned = malloc(len + 1);
    memcpy(owned, bytes, len);
    return (FramexBuffer){owned, len, len + 1, free_bytes};
}

typedef int32_t (*Call)(const void *, const FramexCallContext *, FramexSlice, const FramexWaker *, FramexBuffer *,
                        FramexFuture *);

static int32_t offer(FramexSlice name, FramexSlice schema, uint32_t struct_size, Call call, FramexBuffer *error) {
    FramexRegistration registration = {
        .struct_size = struct_size,
        .name = name,
        .arguments_schema = schema,
        .timeout_ms = FRAMEX_NO_DEADLINE,
        .call = call,
    };
    return host->register_(host->instance, &registration, error);
}

#define CALL(name) \
    static int32_t name(const void *function, const FramexCallContext *context, FramexSlice arguments, \
                        const FramexWaker *waker, FramexBuffer *out, FramexFuture *future)
#define UNUSED (void)function, (void)context, (void)arguments, (void)waker, (void)out, (void)future

CALL(unknown_status) {
    UNUSED;
    *out = copy("?", 1);
    return 99;
}

CALL(pending_without_a_future) {
    UNUSED;
    waker->vtable->wake_by_ref(waker->data);
    return FRAMEX_STATUS_PENDING;
}

CALL(unreadable_error) {
    UNUSED;
    *out = copy("\xc1\xc1", 2);
    return FRAMEX_STATUS_ERR;
}

CALL(empty_error) {
    UNUSED;
    return FRAMEX_STATUS_ERR;
}

CALL(panic_that_is_no_text) {
    UNUSED;
    *out = copy("\xff\xfe", 2);
    return FRAMEX_STATUS_PANIC;
}

CALL(unreadable_result) {
    UNUSED;
    *out = copy("\xdd\xff\xff\xff\xff", 5);
    return FRAMEX_STATUS_OK;
}

CALL(no_result) {
    UNUSED;
    return FRAMEX_STATUS_OK;
}

/* Registers one more function, which is too late. */
CALL(registers) {
    UNUSED;
    FramexBuffer error = {0};
    int32_t status = offer(text("faults.late"), text(""), sizeof(FramexRegistration), registers, &error);
    uint8_t answer[256] = {0xd9, (uint8_t)error.len};
    if (error.len < 254) memcpy(answer + 2, error.ptr, error.len);
    *out = copy(answer, error.len + 2);
    if (error.free) error.free(error.ptr, error.len, error.cap);
    return status == FRAMEX_STATUS_ERR ? FRAMEX_STATUS_OK : FRAMEX_STATUS_PANIC;
}

/* Calls a number that was never given out, and names that are none. */
CALL(calls_nothing) {
    UNUSED;
    if (host->resolve(host->instance, text("no name!")) != FRAMEX_NO_FUNCTION) return FRAMEX_STATUS_PANIC;
    return host->call(host->instance, context->invocation, 4711, copy("\x80", 1), NULL, waker, out, future);
}

static int is(const char *fault) {
    size_t len = strlen(fault);
    for (size_t at = 0; at + len <= host->config.len; at++)
        if (memcmp(host->config.ptr + at, fault, len) == 0) return 1;
    return 0;
}

static int32_t offer_all(FramexBuffer *error) {
    static const struct {
        const char *name;
        Call call;
    } all[] = {
        {"faults.unknown_status", unknown_status},
        {"faults.pending_without_a_future", pending_without_a_future},
        {"faults.unreadable_error", unreadable_error},
        {"faults.empty_error", empty_error},
        {"faults.panic_that_is_no_text", panic_that_is_no_text},
        {"faults.unreadable_result", unreadable_result},
        {"faults.no_result", no_result},
        {"faults.registers", registers},
        {"faults.calls_nothing", calls_nothing},
    };
    int32_t status = FRAMEX_STATUS_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && status == FRAMEX_STATUS_OK; i++)
        status = offer(text(all[i].name), text(""), sizeof(FramexRegistration), all[i].call, error);
    return status;
}

static int32_t on_start(const FramexHost *given, void **instance, FramexBuffer *error) {
    host = given;
    *instance = NULL;
    uint32_t size = sizeof(FramexRegistration);
    if (is("no_reason")) return FRAMEX_STATUS_ERR;
    if (is("odd_status")) return 7;
    if (is("odd_reason")) {
        *error = copy("\xff then text", 11);
        return FRAMEX_STATUS_ERR;
    }
    if (is("bad_name")) return offer(text("no name!"), text(""), size, registers, error);
    if (is("no_name")) return offer(text(""), text(""), size, registers, error);
    if (is("huge_name")) return offer((FramexSlice){(const uint8_t *)"x", 1 << 30}, text(""), size, registers, error);
    if (is("not_utf8")) return offer(text("\xff\xfe"), text(""), size, registers, error);
    if (is("bad_schema")) return offer(text("faults.f"), text("{"), size, registers, error);
    if (is("no_code")) return offer(text("faults.f"), text(""), size, NULL, error);
    if (is("small_struct")) return offer(text("faults.f"), text(""), 16, registers, error);
    if (is("calls_early")) {
        uint32_t number = host->resolve(host->instance, text("demo.some.example_func"));
        FramexFuture future = {0};
        static const FramexWakerVtable no_vtable = {0};
        FramexWaker waker = {NULL, &no_vtable};
        int32_t status = host->call(host->instance, NULL, number, copy("\x80", 1), NULL, &waker, error, &future);
        return status == FRAMEX_STATUS_ERR ? FRAMEX_STATUS_ERR : FRAMEX_STATUS_OK;
    }
    return offer_all(error);
}

const FramexPluginDescriptor framex_plugin_v1 = {
    .magic = {'F', 'X', 'P', 'L', 'U', 'G', 'I', 'N'},
    .struct_size = sizeof(FramexPluginDescriptor),
    .abi_major = FRAMEX_ABI_MAJOR,
    .abi_minor = FRAMEX_ABI_MINOR,
    .flags = FRAMEX_FLAG_CONTAINS_PANICS,
    .name = "faults",
    .version = "0.1.0",
#ifndef WITHOUT_ON_START
    .on_start = on_start,
#endif
};

#ifdef WITHOUT_ON_START
const void *unused = (const void *)on_start;
#endif
