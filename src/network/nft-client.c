/* SPDX-License-Identifier: Apache-2.0 */

/* libnftables, with -errno and without its files. It is loaded with the first client: with the four libraries that it brings
 * it would be a third of what a daemon holds whose VMs have no network, or that has none yet. */

#include "network/nft-client.h"

#include <dlfcn.h>
#include <nftables/libnftables.h>

#include "basic/alloc-util.h"
#include "basic/low-fd.h"
#include "basic/string-util.h"

#define LIBRARY "libnftables.so.1"

/* Its functions by their names, once it is there; it stays. */
static struct {
        bool loaded;
        typeof(nft_ctx_new) *ctx_new;
        typeof(nft_ctx_free) *ctx_free;
        typeof(nft_ctx_buffer_output) *ctx_buffer_output;
        typeof(nft_ctx_buffer_error) *ctx_buffer_error;
        typeof(nft_ctx_get_output_buffer) *ctx_get_output_buffer;
        typeof(nft_ctx_get_error_buffer) *ctx_get_error_buffer;
        typeof(nft_ctx_output_set_flags) *ctx_output_set_flags;
        typeof(nft_run_cmd_from_buffer) *run_cmd_from_buffer;
} nft;

struct NftClient {
        struct nft_ctx *context; /* kept, with a megabyte of cache: without it, removing one of 1,000 TAPs takes 15 ms, not 0.2 */
        char error[256];
};

static int load(void) {
        static const struct {
                const char *name;
                void *function; /* where its address belongs */
        } symbols[] = {
                { "nft_ctx_new", &nft.ctx_new },
                { "nft_ctx_free", &nft.ctx_free },
                { "nft_ctx_buffer_output", &nft.ctx_buffer_output },
                { "nft_ctx_buffer_error", &nft.ctx_buffer_error },
                { "nft_ctx_get_output_buffer", &nft.ctx_get_output_buffer },
                { "nft_ctx_get_error_buffer", &nft.ctx_get_error_buffer },
                { "nft_ctx_output_set_flags", &nft.ctx_output_set_flags },
                { "nft_run_cmd_from_buffer", &nft.run_cmd_from_buffer },
        };
        void *library;

        if (nft.loaded)
                return 0;
        library = dlopen(LIBRARY, RTLD_NOW | RTLD_NODELETE);
        for (size_t i = 0; i < ELEMENTSOF(symbols); i++) {
                void *function = library ? dlsym(library, symbols[i].name) : NULL;

                if (!function)
                        return -ELIBBAD;
                memcpy(symbols[i].function, &function, sizeof(function));
        }
        nft.loaded = true;
        return 0;
}

int nft_client_new(NftClient **ret) {
        _cleanup_(nft_client_freep) NftClient *c = NULL;
        int r;

        r = load();
        if (r < 0)
                return r;
        c = new0(NftClient, 1);
        if (!c)
                return -ENOMEM;
        r = low_fd_next(); /* it waits for its socket with select() */
        if (r < 0)
                return r;
        c->context = nft.ctx_new(NFT_CTX_DEFAULT);
        if (!c->context)
                return -ENOMEM;
        if (nft.ctx_buffer_output(c->context) != 0 || nft.ctx_buffer_error(c->context) != 0)
                return -ENOMEM;
        *ret = TAKE_PTR(c);
        return 0;
}

NftClient *nft_client_free(NftClient *c) {
        if (!c)
                return NULL;
        if (c->context)
                nft.ctx_free(c->context);
        (void) low_fd_keep(); /* for another one */
        return mfree(c);
}

const char *nft_client_error(const NftClient *c) {
        return c->error;
}

/* libnftables tells what the kernel said only in words, at the end of the line. */
static int error_number(const char *line) {
        size_t n = strlen(line);

        for (int e = 1; e < 134; e++) {
                const char *word = strerrordesc_np(e);
                size_t k = word ? strlen(word) : 0;

                if (k > 0 && n > k + 2 && streq(line + n - k, word) &&
                                strncmp(line + n - k - 2, ": ", 2) == 0)
                        return -e;
        }
        return -EINVAL;
}

static int failed(NftClient *c) {
        const char *text = strempty(nft.ctx_get_error_buffer(c->context));

        (void) snprintf(c->error, sizeof(c->error), "%.*s", (int) strcspn(text, "\n"), text);
        return error_number(c->error);
}

int nft_client_run(NftClient *c, const char *commands) {
        c->error[0] = 0;
        nft.ctx_output_set_flags(c->context, 0);
        if (nft.run_cmd_from_buffer(c->context, commands) != 0)
                return failed(c);
        return 0;
}

int nft_client_list(NftClient *c, const char *command, bool terse, json_t **ret) {
        json_t *root, *objects;

        c->error[0] = 0;
        nft.ctx_output_set_flags(c->context,
                        NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_NUMERIC_PRIO | NFT_CTX_OUTPUT_STATELESS |
                                        (terse ? NFT_CTX_OUTPUT_TERSE : 0));
        if (nft.run_cmd_from_buffer(c->context, command) != 0)
                return failed(c);
        root = json_loads(strempty(nft.ctx_get_output_buffer(c->context)), 0, NULL);
        objects = json_object_get(root, "nftables");
        if (!json_is_array(objects)) {
                json_decref(root);
                return -EBADMSG;
        }
        if (json_object_get(json_array_get(objects, 0), "metainfo"))
                (void) json_array_remove(objects, 0);
        *ret = json_incref(objects);
        json_decref(root);
        return 0;
}
