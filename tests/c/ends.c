/* The plugin `tiny` that ends the process: in a constructor (-DIN_CONSTRUCTOR=...), in a destructor
   (-DIN_DESTRUCTOR=...) or in on_start (-DIN_ON_START=...). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef IN_ON_START
#define on_start tiny_on_start
#define framex_plugin_v1 tiny_plugin_v1
#endif
#include "plugin.c"

__attribute__((unused)) static void fault(void) { *(volatile int *)0 = 0; }

static volatile int goes_on = 1;

__attribute__((unused, noinline)) static int overflow(int depth) {
    volatile char frame[4096];
    memset((char *)frame, depth, sizeof(frame));
    return goes_on ? overflow(depth + 1) + frame[0] : 0;
}

__attribute__((unused)) static void takes_memory(void) {
    for (;;) {
        char *block = malloc(64 << 20);
        if (block == NULL) {
            fputs("no memory\n", stderr);
            abort();
        }
        block[0] = 1;
    }
}

__attribute__((unused)) static void takes_descriptors(void) {
    while (open("/dev/null", O_RDONLY) >= 0) {}
    fputs("no descriptor\n", stderr);
    abort();
}

#ifdef IN_DESTRUCTOR
__attribute__((destructor)) static void ends(void) {
    IN_DESTRUCTOR;
}
#endif

#ifdef IN_CONSTRUCTOR
__attribute__((constructor)) static void ends(void) {
    IN_CONSTRUCTOR;
}
#endif

#ifdef IN_ON_START
#undef framex_plugin_v1
static int32_t ends_on_start(const FramexHost *given, void **instance, FramexBuffer *error) {
    (void)given, (void)instance, (void)error, (void)tiny_on_start;
    IN_ON_START;
    return FRAMEX_STATUS_OK;
}

const FramexPluginDescriptor framex_plugin_v1 = {
    .magic = {'F', 'X', 'P', 'L', 'U', 'G', 'I', 'N'},
    .struct_size = sizeof(FramexPluginDescriptor),
    .abi_major = FRAMEX_ABI_MAJOR,
    .abi_minor = FRAMEX_ABI_MINOR,
    .flags = FRAMEX_FLAG_CONTAINS_PANICS,
    .name = "tiny",
    .version = "1.2.3",
    .built_with = "a C compiler",
    .on_start = ends_on_start,
    .on_stop = on_stop,
};
#endif
