/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/run-words.h"

#include <inttypes.h>
#include <jansson.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"

#define NAME_BASE_MAX 40u

static int words_from_json(const char *s, char ***ret) {
        _cleanup_strv_free_ char **words = NULL;
        json_t *array, *word;
        size_t i;
        int r = 0;

        array = json_loads(s, 0, NULL);
        if (!json_is_array(array))
                r = -EINVAL;
        json_array_foreach(array, i, word)
                if (r >= 0)
                        r = json_is_string(word) ? strv_extend(&words, json_string_value(word)) : -EINVAL;
        json_decref(array);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(words);
        return 0;
}

int entrypoint_parse(const char *s, char ***ret) {
        *ret = NULL;
        if (s[0] == '[')
                return words_from_json(s, ret);
        return s[0] ? strv_extend(ret, s) : 0;
}

char *vm_name_make(const char *image, uint32_t number) {
        const char *base = strrchr(image, '/') ? strrchr(image, '/') + 1 : image;
        char clean[NAME_BASE_MAX + 1];
        size_t n = 0;

        if (startswith(image, "sha256:"))
                base = "";
        for (; *base && !strchr(":@", *base) && n < NAME_BASE_MAX; base++) {
                char c = *base >= 'A' && *base <= 'Z' ? (char) (*base - 'A' + 'a') : *base;

                if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
                        clean[n++] = c;
                else if (n > 0 && clean[n - 1] != '-')
                        clean[n++] = '-';
        }
        if (n > 0 && clean[n - 1] == '-')
                n--;
        clean[n] = 0;
        return strprintf("%s-%06" PRIx32, n > 0 ? clean : "vm", number & 0xffffff);
}

bool is_init(const char *program) {
        static const char *const paths[] = {
                "/init", "/sbin/init", "/usr/sbin/init", "/bin/init", "/usr/bin/init",
                "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/bin/systemd", "/usr/bin/systemd", "init",
        };
        const char *slash = strrchr(program, '/');

        for (size_t i = 0; i < ELEMENTSOF(paths); i++)
                if (streq(program, paths[i]))
                        return true;
        return streq(slash ? slash + 1 : program, "openrc-init");
}

static int extend(char ***words, char *const *more) {
        int r = 0;

        STRV_FOREACH(word, more)
                if (r >= 0)
                        r = strv_extend(words, *word);
        return r;
}

int command_compose(const char *entrypoint, char *const *image_entrypoint, char *const *given,
                    char *const *image_arguments, char ***ret) {
        _cleanup_strv_free_ char **words = NULL;
        int r;

        r = entrypoint ? entrypoint_parse(entrypoint, &words) : extend(&words, image_entrypoint);
        if (r >= 0)
                r = extend(&words, given && given[0] ? given : entrypoint ? NULL : image_arguments);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(words);
        return 0;
}
