/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/image-config.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "compute/vm-spec.h"
#include "shared/bus-util.h"

#define PATH_LENGTH_MAX 4095u
#define SIGNAL_LENGTH_MAX 32u

void vm_image_config_done(VmImageConfig *c) {
        strv_free(c->entrypoint);
        strv_free(c->cmd);
        strv_free(c->environment);
        free(c->user);
        free(c->working_directory);
        free(c->stop_signal);
        *c = (VmImageConfig) {};
}

static int unusable(char **ret_why, const char *sentence) {
        *ret_why = strdup(sentence);
        return -EUCLEAN;
}

/* True while the strings of l fit into what is left of *room. */
static bool take_room(char *const *l, size_t *room) {
        if (strv_length(l) > VM_STRINGS_MAX)
                return false;
        STRV_FOREACH(i, l) {
                size_t n = strlen(*i) + 8;

                if (n > *room)
                        return false;
                *room -= n;
        }
        return true;
}

int vm_image_config_check(const VmImageConfig *c, char **ret_why) {
        size_t room = VM_STRINGS_SIZE_MAX;

        if (!take_room(c->entrypoint, &room) || !take_room(c->cmd, &room) || !take_room(c->environment, &room))
                return unusable(ret_why, "The image's entrypoint, command and environment are larger than 24 KiB together.");
        if (c->user && (strlen(c->user) > IMAGE_USER_MAX || !utf8_is_clean(c->user, NULL)))
                return unusable(ret_why, "The image's user is no name.");
        if (c->working_directory && strlen(c->working_directory) > PATH_LENGTH_MAX)
                return unusable(ret_why, "The image's working directory is longer than a path may be.");
        if (c->stop_signal && strlen(c->stop_signal) > SIGNAL_LENGTH_MAX)
                return unusable(ret_why, "The image's stop signal is no signal.");
        return 0;
}

static int read_value(sd_bus_message *m, const char *key, VmImageConfig *c) {
        const struct {
                const char *key;
                char ***strings, **string;
        } keys[] = {
                { "Entrypoint", &c->entrypoint, NULL },
                { "Cmd", &c->cmd, NULL },
                { "Env", &c->environment, NULL },
                { "User", NULL, &c->user },
                { "WorkingDirectory", NULL, &c->working_directory },
                { "StopSignal", NULL, &c->stop_signal },
        };
        const char *s;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                if (!streq(keys[i].key, key))
                        continue;
                r = sd_bus_message_enter_container(m, 'v', keys[i].strings ? "as" : "s");
                if (r < 0)
                        return r == -ENXIO ? -EUCLEAN : r;
                if (keys[i].strings) {
                        *keys[i].strings = strv_free(*keys[i].strings);
                        r = sd_bus_message_read_strv(m, keys[i].strings);
                } else {
                        r = sd_bus_message_read_basic(m, 's', &s);
                        if (r >= 0)
                                r = free_and_strdup(keys[i].string, isempty(s) ? NULL : s);
                }
                return r < 0 ? r : sd_bus_message_exit_container(m);
        }
        return sd_bus_message_skip(m, "v");
}

int vm_image_config_read(sd_bus_message *m, VmImageConfig *ret, char **ret_why) {
        _cleanup_(vm_image_config_done) VmImageConfig c = {};
        const char *key;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &key);
                if (r >= 0)
                        r = read_value(m, key, &c);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r >= 0)
                r = vm_image_config_check(&c, ret_why);
        if (r == -EUCLEAN && !*ret_why)
                return unusable(ret_why, "What hero-imaged says about the image is not of the types it should be.");
        if (r < 0)
                return r;
        *ret = c;
        c = (VmImageConfig) {};
        return 0;
}

static int copy_strv(char *const *l, char ***ret) {
        *ret = l ? strv_copy(l) : NULL;
        return l && !*ret ? -ENOMEM : 0;
}

int vm_image_config_copy(const VmImageConfig *c, VmImageConfig *ret) {
        _cleanup_(vm_image_config_done) VmImageConfig copy = {};

        if (copy_strv(c->entrypoint, &copy.entrypoint) < 0 || copy_strv(c->cmd, &copy.cmd) < 0 ||
            copy_strv(c->environment, &copy.environment) < 0 || free_and_strdup(&copy.user, c->user) < 0 ||
            free_and_strdup(&copy.working_directory, c->working_directory) < 0 ||
            free_and_strdup(&copy.stop_signal, c->stop_signal) < 0)
                return -ENOMEM;
        *ret = copy;
        copy = (VmImageConfig) {};
        return 0;
}
