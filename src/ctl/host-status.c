/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/host-status.h"

#include <inttypes.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/sanitize.h"
#include "ctl/table.h"

typedef struct HostStatus {
        char *version, *hypervisor, *accelerator, *image, *subnet, *subnet_source, *ipv4_pool;
        uint32_t cpus_total, cpus_reserved, n_vms;
        uint64_t memory_total, memory_reserved, disk_total, disk_reserved;
} HostStatus;

static void host_status_done(HostStatus *s) {
        free(s->version);
        free(s->hypervisor);
        free(s->accelerator);
        free(s->image);
        free(s->subnet);
        free(s->subnet_source);
        free(s->ipv4_pool);
}

static const PropertyMap properties[] = {
        { "Version", "s", offsetof(HostStatus, version) },
        { "Hypervisor", "s", offsetof(HostStatus, hypervisor) },
        { "Accelerator", "s", offsetof(HostStatus, accelerator) },
        { "DefaultImage", "s", offsetof(HostStatus, image) },
        { "CPUsTotal", "u", offsetof(HostStatus, cpus_total) },
        { "CPUsReserved", "u", offsetof(HostStatus, cpus_reserved) },
        { "MemoryTotal", "t", offsetof(HostStatus, memory_total) },
        { "MemoryReserved", "t", offsetof(HostStatus, memory_reserved) },
        { "DiskTotal", "t", offsetof(HostStatus, disk_total) },
        { "DiskReserved", "t", offsetof(HostStatus, disk_reserved) },
        { "NVMs", "u", offsetof(HostStatus, n_vms) },
        { "Subnet", "s", offsetof(HostStatus, subnet) },
        { "SubnetSource", "s", offsetof(HostStatus, subnet_source) },
        { "IPv4Pool", "s", offsetof(HostStatus, ipv4_pool) },
        {},
};

static int print_json(const HostStatus *s, uint64_t n_quarantined) {
        static const Column columns[] = {
                { NULL, "version", COLUMN_STRING },       { NULL, "hypervisor", COLUMN_STRING },
                { NULL, "accelerator", COLUMN_STRING },   { NULL, "default-image", COLUMN_STRING },
                { NULL, "vms", COLUMN_NUMBER },           { NULL, "cpus-total", COLUMN_NUMBER },
                { NULL, "cpus-reserved", COLUMN_NUMBER }, { NULL, "memory-total", COLUMN_BYTES },
                { NULL, "memory-reserved", COLUMN_BYTES }, { NULL, "disk-total", COLUMN_BYTES },
                { NULL, "disk-reserved", COLUMN_BYTES },  { NULL, "quarantined", COLUMN_NUMBER },
                { NULL, "subnet", COLUMN_STRING },        { NULL, "subnet-source", COLUMN_STRING },
                { NULL, "ipv4-pool", COLUMN_STRING },
        };
        _cleanup_table_ Table *t = NULL;
        int r;

        r = table_new(columns, ELEMENTSOF(columns), &t);
        if (r < 0)
                return r;
        r = table_add(t, s->version, s->hypervisor, s->accelerator, s->image, (uint64_t) s->n_vms,
                      (uint64_t) s->cpus_total, (uint64_t) s->cpus_reserved, s->memory_total, s->memory_reserved,
                      s->disk_total, s->disk_reserved, n_quarantined, s->subnet, s->subnet_source, s->ipv4_pool);
        return r < 0 ? r : table_print_object(t);
}

static void print_bytes(const char *label, uint64_t total, uint64_t reserved) {
        char a[FORMAT_BYTES_MAX], b[FORMAT_BYTES_MAX], c[FORMAT_BYTES_MAX];

        printf("%13s: %s of %s promised, %s left\n", label, format_bytes(a, reserved), format_bytes(b, total),
               format_bytes(c, total > reserved ? total - reserved : 0));
}

static void print_text(const HostStatus *s) {
        printf("hero-computed %s\n", strna(s->version));
        printf("%13s: %s%s%s\n", "Hypervisor", strna(s->hypervisor), isempty(s->accelerator) ? "" : ", ",
               strempty(s->accelerator));
        printf("%13s: %s\n", "Default image", isempty(s->image) ? "-" : s->image);
        if (!isempty(s->subnet))
                printf("%13s: %s (%s)%s%s\n", "Network", s->subnet, strna(s->subnet_source), isempty(s->ipv4_pool) ? "" : ", ",
                       strempty(s->ipv4_pool));
        printf("%13s: %" PRIu32 "\n", "VMs", s->n_vms);
        printf("%13s: %" PRIu32 " of %" PRIu32 " promised, %" PRIu32 " left\n", "CPUs", s->cpus_reserved, s->cpus_total,
               s->cpus_total > s->cpus_reserved ? s->cpus_total - s->cpus_reserved : 0);
        print_bytes("Memory", s->memory_total, s->memory_reserved);
        print_bytes("Disk", s->disk_total, s->disk_reserved);
}

/* Prints them, in text; counts them. */
static int quarantined(sd_bus_message *m, uint64_t *ret_n) {
        const char *name, *sentence;
        uint64_t n = 0;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(ss)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "(ss)", &name, &sentence)) > 0) {
                _cleanup_free_ char *a = sanitize_line(name), *b = sanitize_line(sentence);

                if (arg_json == JSON_OFF) {
                        if (n == 0)
                                printf("\nLeft as they are, for their records could not be read:\n");
                        printf("  %s: %s\n", strna(a), strna(b));
                }
                n++;
        }
        *ret_n = n;
        return r;
}

int host_status_print(sd_bus *bus, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *broken = NULL;
        _cleanup_(host_status_done) HostStatus s = {};
        uint64_t n;
        int r;

        r = bus_get_properties(bus, HERO_PATH, HERO_MANAGER, properties, &s, error);
        if (r < 0)
                return r;
        r = sd_bus_get_property(bus, HERO_SERVICE, HERO_PATH, HERO_MANAGER, "Quarantined", error, &broken, "a(ss)");
        if (r < 0)
                return r;
        if (arg_json == JSON_OFF)
                print_text(&s);
        r = quarantined(broken, &n);
        if (r < 0)
                return r;
        return arg_json == JSON_OFF ? 0 : print_json(&s, n);
}
