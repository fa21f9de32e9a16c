/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/diagnose.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "image/kernel.h"
#include "shared/bus-util.h"

typedef enum Level {
        OK,
        WARNING,
        ERROR,
} Level;

static int tell(sd_bus_message *reply, const char *check, Level level, const char *format, ...) _printf_(4, 5);
static int tell(sd_bus_message *reply, const char *check, Level level, const char *format, ...) {
        static const char *const words[] = { "ok", "warning", "error" };
        char sentence[512];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(sentence, sizeof(sentence), format, ap);
        va_end(ap);
        return sd_bus_message_append(reply, "(sss)", check, words[level], sentence);
}

static int check_hypervisor(Manager *m, sd_bus_message *reply) {
        const Hypervisor *h = hypervisor_find(m->config.hypervisor);
        _cleanup_free_ char *why = NULL;

        if (h->available && h->available(&why) < 0)
                return tell(reply, "hypervisor", ERROR, "%s", strempty(why));
        return tell(reply, "hypervisor", OK, "The %s hypervisor is there.", h->name);
}

static int check_kernel(Manager *m, sd_bus_message *reply) {
        _cleanup_(kernel_done) Kernel k = {};
        _cleanup_free_ char *why = NULL;

        if (kernel_find(m->config.kernel, m->config.kernel_modules, kernel_default_roots, &k, &why) < 0)
                return tell(reply, "kernel", ERROR, "%s", strempty(why));
        return tell(reply, "kernel", OK, "Guests boot %s.", k.path);
}

static int check_kvm(Manager *m, sd_bus_message *reply) {
        const Resources *r = &m->resources;

        if (m->config.accelerator == ACCELERATOR_TCG)
                return tell(reply, "accelerator", WARNING, "Accelerator=tcg is configured: guests run many times slower than "
                                                           "with KVM.");
        if (r->accelerator == ACCELERATOR_TCG)
                return tell(reply, "accelerator", m->config.accelerator == ACCELERATOR_KVM ? ERROR : WARNING,
                            "KVM cannot run guests here: %s Guests run many times slower.", strempty(r->accelerator_why));
        if (r->accelerator == ACCELERATOR_KVM)
                return tell(reply, "accelerator", OK, "KVM runs guests.");
        return tell(reply, "accelerator", access("/dev/kvm", R_OK | W_OK) < 0 ? WARNING : OK,
                    access("/dev/kvm", R_OK | W_OK) < 0 ? "There is no /dev/kvm: guests will run many times slower." :
                                                          "/dev/kvm is there; whether it can run a guest is tried at the "
                                                          "first start of one.");
}

static int check_cgroups(Manager *m, sd_bus_message *reply) {
        _cleanup_free_ char *controllers = NULL, *mounts = NULL;
        struct statfs fs;
        int r;

        if (statfs("/sys/fs/cgroup", &fs) < 0 || fs.f_type != 0x63677270 /* CGROUP2_SUPER_MAGIC */)
                return tell(reply, "cgroups", ERROR, "/sys/fs/cgroup is not cgroup v2, which suspending needs. Boot with "
                                                     "systemd.unified_cgroup_hierarchy=1.");
        if (read_full_file(AT_FDCWD, "/sys/fs/cgroup/cgroup.controllers", 4096, &controllers, NULL) < 0 ||
            !strstr(controllers, "memory") || !strstr(controllers, "cpu"))
                return tell(reply, "cgroups", WARNING, "The controllers cpu and memory are not there, so limits of VMs are "
                                                       "accepted and not enforced.");
        r = tell(reply, "cgroups", OK, "cgroup v2 with the controllers cpu and memory.");
        if (r >= 0 && read_full_file(AT_FDCWD, "/proc/self/mounts", 1 << 20, &mounts, NULL) >= 0 && strstr(mounts, "cgroup2") &&
            !strstr(mounts, "favordynmods") && access("/dev/kvm", F_OK) >= 0)
                r = tell(reply, "favordynmods", WARNING, "Kernels since 6.0 take 30 to 70 ms longer to make a KVM guest unless "
                                                         "/sys/fs/cgroup is mounted with favordynmods: mount -o "
                                                         "remount,favordynmods /sys/fs/cgroup.");
        return r;
}

static int check_capacity(Manager *m, sd_bus_message *reply) {
        const Capacity *c = &m->capacity;
        char free_memory[FORMAT_BYTES_MAX], free_disk[FORMAT_BYTES_MAX];
        uint64_t memory = c->memory_total > c->memory_reserved ? c->memory_total - c->memory_reserved : 0;
        uint64_t disk = c->disk_total > c->disk_reserved ? c->disk_total - c->disk_reserved : 0;
        unsigned cpus = c->cpus_total > c->cpus_reserved ? c->cpus_total - c->cpus_reserved : 0;
        bool full = memory < m->config.memory || disk < m->config.disk || cpus < m->config.cpus;

        return tell(reply, "capacity", full ? WARNING : OK, "%u CPUs, %s of memory and %s of disk are left%s", cpus,
                    format_bytes(free_memory, memory), format_bytes(free_disk, disk),
                    full ? ", too little for one more VM of the default size." : ".");
}

static int check_quarantined(Manager *m, sd_bus_message *reply) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < m->n_quarantined; i++)
                r = tell(reply, "record", ERROR, "VM '%s': %s Mend or remove " STATEDIR "/vms/%s.", m->quarantined[i].name,
                         m->quarantined[i].why, m->quarantined[i].name);
        return r;
}

/* What other tables drop, no rule of ours can let through. */
static int check_obstacles(Manager *m, sd_bus_message *reply) {
        _cleanup_strv_free_ char **chains = NULL;
        int r;

        if (filter_obstacles(m->network.filter, &chains) < 0)
                return tell(reply, "firewall", WARNING, "The rules of other firewalls cannot be read: %s",
                            filter_error(m->network.filter));
        r = strv_length(chains) > 0 ? 0 : tell(reply, "firewall", OK, "No other firewall keeps VMs from the network.");
        STRV_FOREACH(c, chains)
                if (r >= 0)
                        r = tell(reply, "firewall", WARNING,
                                 "The nftables chain '%s' drops what is forwarded from and to VMs. Let it accept iifname \"tap-*\", "
                                 "oifname \"tap-*\" and oifname \"" WAKE_INTERFACE "\".", *c);
        return r;
}

static int check_network(Manager *m, sd_bus_message *reply) {
        const Network *n = &m->network;
        char subnet[SUBNET_STRING_MAX];
        int r;

        if (!n->book)
                return tell(reply, "network", OK, "VMs have no network (Enable=no in compute.conf).");
        r = tell(reply, "network", OK, "Addresses of VMs are of %s (%s).", subnet_format(subnet, &n->subnet), n->source);
        if (r >= 0 && n->mycelium && mycelium_result(n->mycelium) < 0 && mycelium_result(n->mycelium) != -EINPROGRESS)
                r = tell(reply, "mycelium", WARNING, "mycelium at %s: %s. Without it VMs are reached from this host and by IPv4 only.",
                         m->config.mycelium_url, mycelium_error_text(n->mycelium));
        /* The device is there from the first VM on; until then there is nothing that could be in its way. */
        if (r >= 0 && n->netlink && !n->wake_source)
                r = tell(reply, "wake", ERROR, "The device " WAKE_INTERFACE " is gone; restart hero-computed, so that packets wake VMs.");
        return r >= 0 && n->filter ? check_obstacles(m, reply) : r;
}

int diagnose(Manager *m, sd_bus_message *call) {
        static int (*const checks[])(Manager *m, sd_bus_message *reply) = {
                check_hypervisor, check_kernel, check_kvm, check_cgroups, check_capacity, check_network,
                check_quarantined,
        };
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sss)");
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(checks); i++)
                r = checks[i](m, reply);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}
