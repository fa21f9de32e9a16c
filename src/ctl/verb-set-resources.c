/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/resolve.h"
#include "ctl/spec.h"

static unsigned arg_cpus = 0;
static uint64_t arg_memory = 0, arg_disk = 0, arg_cpu_weight = 0, arg_io_weight = 0;

static int append(sd_bus_message *m) {
        const struct {
                const char *key;
                uint64_t value;
        } numbers[] = {
                { "Memory", arg_memory },
                { "Disk", arg_disk },
                { "CPUWeight", arg_cpu_weight },
                { "IOWeight", arg_io_weight },
        };
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && arg_cpus > 0)
                r = append_variant(m, "CPUs", "u", arg_cpus);
        for (size_t i = 0; i < ELEMENTSOF(numbers) && r >= 0; i++)
                if (numbers[i].value > 0)
                        r = append_variant(m, numbers[i].key, "t", numbers[i].value);
        if (r >= 0)
                r = spec_append_rates(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static bool nothing_given(void) {
        return arg_cpus == 0 && arg_memory == 0 && arg_disk == 0 && arg_cpu_weight == 0 && arg_io_weight == 0 &&
                arg_spec.receive_max == 0 && arg_spec.transmit_max == 0;
}

static int run(int argc, char **argv) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *m = NULL;
        _cleanup_free_ char *path = NULL, *name = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        if (nothing_given()) {
                fprintf(stderr, "Nothing to set: give --cpus, --memory, --disk, --cpu-weight, --io-weight, --receive-max or "
                                "--transmit-max.\n");
                return STATUS_USAGE;
        }
        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = resolve_vm(bus, argv[0], &path, &name, &error);
        if (r >= 0)
                r = sd_bus_message_new_method_call(bus, &m, HERO_SERVICE, path, HERO_VM, "SetResources");
        if (r >= 0)
                r = append(m);
        if (r >= 0)
                r = sd_bus_call(bus, m, 0, &error, NULL);
        return r < 0 ? report_error(r, &error, "set resources of VM '%s'", name ?: argv[0]) : 0;
}

static const Option options[] = {
        { 0, "cpus", "N", OPTION_COUNT, &arg_cpus, "Number of CPUs" },
        { 0, "memory", "SIZE", OPTION_SIZE, &arg_memory, "Memory of the guest, such as 512M" },
        { 0, "disk", "SIZE", OPTION_SIZE, &arg_disk, "Size of the VM's own disk; it only grows" },
        { 0, "cpu-weight", "N", OPTION_UINT64, &arg_cpu_weight, "Share of busy CPUs, 1 to 10000 (100)" },
        { 0, "io-weight", "N", OPTION_UINT64, &arg_io_weight, "Share of busy disks, 1 to 10000 (100)" },
        SPEC_RATE_OPTIONS,
        {},
};

const Verb verb_set_resources = {
        .name = "set-resources",
        .arguments = "VM",
        .summary = "Change CPUs, memory, disk, weights or network rates of a VM",
        .help = "\nWeights, network rates and the CPU limit act at once; CPUs, memory and disk at the next start.\n",
        .options = options,
        .min = 1,
        .max = 1,
        .run = run,
};
