/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/bus.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "ctl/heroctl.h"
#include "ctl/polkit-agent.h"
#include "ctl/sanitize.h"
#include "shared/error-names.h"

/* Somebody may have to find and type a password. */
#define INTERACTIVE_TIMEOUT (150 * USEC_PER_SEC)
/* polkitd may take 30 s on a bad day, see shared/polkit.c; less would hide its answer. */
#define CALL_TIMEOUT (60 * USEC_PER_SEC)

int bus_connect(sd_bus **ret) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = sd_bus_open_system_with_description(&bus, "heroctl");
        if (r < 0) {
                fprintf(stderr,
                        "Failed to connect to the system bus: %s.\n"
                        "Is D-Bus running here? Check with 'systemctl status dbus'.\n",
                        strerror(-r));
                return -ENOTCONN;
        }
        sd_bus_set_method_call_timeout(bus, CALL_TIMEOUT);
        if (arg_ask_password) {
                sd_bus_set_allow_interactive_authorization(bus, true);
                if (polkit_agent_open() > 0)
                        sd_bus_set_method_call_timeout(bus, INTERACTIVE_TIMEOUT);
        }
        *ret = TAKE_PTR(bus);
        return 0;
}

static bool is_absent(const sd_bus_error *e) {
        return streq(e->name, SD_BUS_ERROR_SERVICE_UNKNOWN) || streq(e->name, SD_BUS_ERROR_NAME_HAS_NO_OWNER);
}

static const char *hint(const sd_bus_error *e) {
        static const struct {
                const char *error, *hint;
        } table[] = {
                { ERROR_NO_SUCH_VM, "See 'heroctl list'." },
                { ERROR_NO_SUCH_USER, "See 'heroctl list --users'." },
                { ERROR_NO_SUCH_IMAGE, "Check its name and tag; 'heroctl image list' shows the images that are here." },
                { ERROR_PULL_FAILED, "Mirrors, credentials and registries without TLS are configured in images.conf(5)." },
                { ERROR_IMAGE_IN_USE, "See 'heroctl image show IMAGE' for the VMs that use it." },
                { ERROR_AMBIGUOUS_NAME, "Give more of it; see 'heroctl list' or 'heroctl image list'." },
                { ERROR_USER_HAS_VM, "'heroctl deprovision USER' removes that VM with its disk." },
                { ERROR_WRONG_STATE, "See 'heroctl status VM' for its state." },
                { ERROR_BUSY, "Try again when that has ended; 'heroctl wait VM' waits for a VM." },
                { ERROR_NO_CAPACITY, "'heroctl status' shows what is promised to which VM." },
                { ERROR_NO_KERNEL, "Run 'heroctl doctor' to see what is missing." },
                { ERROR_NO_ACCELERATOR, "Run 'heroctl doctor' to see why." },
                { ERROR_NO_HYPERVISOR, "Run 'heroctl doctor' to see what is missing." },
                { ERROR_VMM_FAILED, "'heroctl logs VM' and 'journalctl -u hero-computed' have the details." },
                { ERROR_BOOT_FAILED, "'heroctl logs VM' shows the guest's console." },
                { ERROR_AGENT_TIMEOUT, "'heroctl logs VM' shows the guest's console." },
                { ERROR_NO_AGENT, "'heroctl console VM' works without an agent." },
                { SD_BUS_ERROR_ACCESS_DENIED, "Run it as root, or ask the administrator for a polkit rule." },
                { SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                  "A password is needed: run it on a terminal, without --no-ask-password." },
        };

        if (is_absent(e)) /* the bus says which name it is */
                return e->message && strstr(e->message, HERO_IMAGES) ?
                        "It starts when it is needed; 'systemctl status hero-imaged' says why it did not." :
                        "Start it with 'systemctl start hero-computed'.";
        if (streq(e->name, ERROR_BUSY) && !startswith(strempty(e->message), "VM '"))
                return NULL; /* of an image: no job to wait for */
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (streq(table[i].error, e->name))
                        return table[i].hint;
        return NULL;
}

/* sd-bus and the bus daemon speak to programmers; these are the cases that people meet. */
static const char *sentence(int r, const sd_bus_error *e) {
        if (e && e->name) {
                if (is_absent(e))
                        return "the service is not running";
                if (streq(e->name, SD_BUS_ERROR_NO_REPLY) || streq(e->name, SD_BUS_ERROR_TIMEOUT))
                        return "the service did not answer";
                if (!isempty(e->message))
                        return e->message;
                return e->name;
        }
        return strerror(r < 0 ? -r : r);
}

int report_error(int r, const sd_bus_error *e, const char *format, ...) {
        _cleanup_free_ char *clean = NULL;
        const char *h, *dot;
        va_list ap;
        size_t n;

        clean = sanitize_line(sentence(r, e));
        if (!clean)
                return -ENOMEM;
        n = strlen(clean);
        dot = n > 0 && strchr(".!?", clean[n - 1]) ? "" : ".";
        fputs("Failed to ", stderr);
        va_start(ap, format);
        vfprintf(stderr, format, ap);
        va_end(ap);
        fprintf(stderr, ": %s%s\n", clean, dot);
        if (!e || !e->name)
                return r < 0 ? r : -r;
        h = hint(e);
        if (h)
                fprintf(stderr, "%s\n", h);
        r = sd_bus_error_get_errno(e);
        return r > 0 ? -r : -EIO;
}

/* The strings of as, or of a{ss}, one after the other. */
static int read_strings(sd_bus_message *m, const char *type, char ***l) {
        const char *key, *value;
        int r;

        if (streq(type, "as")) {
                strv_free(*l);
                *l = NULL;
                return sd_bus_message_read_strv(m, l);
        }
        r = sd_bus_message_enter_container(m, 'a', "{ss}");
        while (r >= 0 && (r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0) {
                r = strv_extend(l, key);
                if (r >= 0)
                        r = strv_extend(l, value);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_property(sd_bus_message *m, const PropertyMap *p, void *target) {
        void *field = (uint8_t *) target + p->offset;
        int r;

        if (p->type[0] == 'a')
                return read_strings(m, p->type, field);
        if (p->type[0] == '(') {
                uint64_t *t = field;

                return sd_bus_message_read(m, "(ttttt)", t, t + 1, t + 2, t + 3, t + 4);
        }
        if (p->type[0] == 'b') {
                int b;

                r = sd_bus_message_read_basic(m, 'b', &b);
                if (r >= 0)
                        *(bool *) field = b;
                return r;
        }
        if (p->type[0] == 's' || p->type[0] == 'o') {
                const char *s;

                r = sd_bus_message_read_basic(m, p->type[0], &s);
                return r < 0 ? r : free_and_strdup(field, s);
        }
        return sd_bus_message_read_basic(m, p->type[0], field);
}

static int read_entry(sd_bus_message *m, const PropertyMap *map, void *target) {
        const char *name, *contents;
        int r;

        r = sd_bus_message_read_basic(m, 's', &name);
        if (r < 0)
                return r;
        for (const PropertyMap *p = map; p->name; p++) {
                if (!streq(p->name, name))
                        continue;
                r = sd_bus_message_peek_type(m, NULL, &contents);
                if (r < 0)
                        return r;
                if (!streq(contents, p->type))
                        return -EBADMSG;
                r = sd_bus_message_enter_container(m, 'v', contents);
                if (r < 0)
                        return r;
                r = read_property(m, p, target);
                if (r < 0)
                        return r;
                return sd_bus_message_exit_container(m);
        }
        return sd_bus_message_skip(m, "v");
}

int bus_get_properties_of(sd_bus *bus, const char *service, const char *path, const char *interface,
                          const PropertyMap *map, void *target, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_call_method(bus, service, path, "org.freedesktop.DBus.Properties", "GetAll", error, &reply, "s",
                               interface);
        if (r < 0)
                return r;
        r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                r = read_entry(reply, map, target);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(reply);
                if (r < 0)
                        return r;
        }
        return r;
}

int message_take_fd(sd_bus_message *reply, int *ret) {
        int fd, r;

        r = sd_bus_message_read_basic(reply, 'h', &fd);
        if (r < 0)
                return r;
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return negative_errno();
        *ret = fd;
        return 0;
}
