/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/jose-library.h"

#include <dlfcn.h>
#include <jose/jws.h>

#define LIBRARY "libjose.so.0"

/* Its functions by their names, once it is there; it stays. */
static struct {
        jose_cfg_t *configuration;
        typeof(jose_cfg) *cfg;
        typeof(jose_cfg_set_err_func) *cfg_set_err_func;
        typeof(jose_jws_ver) *jws_ver;
} jose;

/* It would write to stderr whatever it dislikes in somebody's token. */
static void on_error(void *misc, const char *file, int line, uint64_t error, const char *format, va_list ap) {
}

static int load(void) {
        static const struct {
                const char *name;
                void *function; /* where its address belongs */
        } symbols[] = {
                { "jose_cfg", &jose.cfg },
                { "jose_cfg_set_err_func", &jose.cfg_set_err_func },
                { "jose_jws_ver", &jose.jws_ver },
        };
        void *library;

        if (jose.configuration)
                return 0;
        library = dlopen(LIBRARY, RTLD_NOW | RTLD_NODELETE);
        for (size_t i = 0; i < ELEMENTSOF(symbols); i++) {
                void *function = library ? dlsym(library, symbols[i].name) : NULL;

                if (!function)
                        return -ELIBBAD;
                memcpy(symbols[i].function, &function, sizeof(function));
        }
        jose.configuration = jose.cfg();
        if (!jose.configuration)
                return -ENOMEM;
        jose.cfg_set_err_func(jose.configuration, on_error, NULL);
        return 0;
}

int jose_verify(const json_t *jws, const json_t *jwk) {
        int r;

        r = load();
        return r < 0 ? r : jose.jws_ver(jose.configuration, jws, NULL, jwk, false);
}
