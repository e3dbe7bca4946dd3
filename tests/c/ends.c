/* The plugin `tiny` that ends the process: in a constructor (-DIN_CONSTRUCTOR=...) or in on_start (-DIN_ON_START=...). */
#ifdef IN_ON_START
#define on_start tiny_on_start
#define framex_plugin_v1 tiny_plugin_v1
#endif
#include "plugin.c"

__attribute__((unused)) static void fault(void) { *(volatile int *)0 = 0; }

/* One of: abort(), exit(3), fault(). */
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
