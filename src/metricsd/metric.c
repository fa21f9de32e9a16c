/* SPDX-License-Identifier: Apache-2.0 */

#include "metricsd/metric.h"

#include <math.h>

/* clang-format off */
const CounterInfo counter_info[_COUNTER_MAX] = {
        [COUNTER_CPU] = { "hero_vm_cpu_seconds_total", COUNTER_TOTAL_USEC, "CPU time of the VM, guest and VMM." },
        [COUNTER_CPU_USER] = { "hero_vm_cpu_user_seconds_total", COUNTER_TOTAL_USEC, "Of this, in user mode; with KVM the guest is in it." },
        [COUNTER_CPU_SYSTEM] = { "hero_vm_cpu_system_seconds_total", COUNTER_TOTAL_USEC, "Of this, in the host's kernel." },
        [COUNTER_CPU_THROTTLED] = { "hero_vm_cpu_throttled_seconds_total", COUNTER_TOTAL_USEC, "Time in which the limit on CPU time held the VM back." },
        [COUNTER_MEMORY] = { "hero_vm_memory_bytes", COUNTER_LEVEL, "Memory of the host that the VM uses, guest and VMM." },
        [COUNTER_MEMORY_PEAK] = { "hero_vm_memory_peak_bytes", COUNTER_LEVEL, "The most it has used since it was started." },
        [COUNTER_MEMORY_ANON] = { "hero_vm_memory_anon_bytes", COUNTER_LEVEL, "Of this, anonymous memory: the VMM's own." },
        [COUNTER_MEMORY_FILE] = { "hero_vm_memory_file_bytes", COUNTER_LEVEL, "Of this, page cache, with the guest's memory." },
        [COUNTER_MEMORY_SHMEM] = { "hero_vm_memory_shmem_bytes", COUNTER_LEVEL, "Of this, shared memory: the guest's while it is awake." },
        [COUNTER_DISK_READ] = { "hero_vm_disk_read_bytes_total", COUNTER_TOTAL, "Bytes read from the host's disks." },
        [COUNTER_DISK_WRITE] = { "hero_vm_disk_written_bytes_total", COUNTER_TOTAL, "Bytes written to the host's disks." },
        [COUNTER_DISK_READS] = { "hero_vm_disk_reads_total", COUNTER_TOTAL, "Reads of the host's disks." },
        [COUNTER_DISK_WRITES] = { "hero_vm_disk_writes_total", COUNTER_TOTAL, "Writes to the host's disks." },
        [COUNTER_CPU_PRESSURE] = { "hero_vm_cpu_pressure_seconds_total", COUNTER_TOTAL_USEC, "Time in which something of the VM waited for a CPU of the host." },
        [COUNTER_MEMORY_PRESSURE] = { "hero_vm_memory_pressure_seconds_total", COUNTER_TOTAL_USEC, "Time in which something of the VM waited for memory of the host." },
        [COUNTER_IO_PRESSURE] = { "hero_vm_io_pressure_seconds_total", COUNTER_TOTAL_USEC, "Time in which something of the VM waited for a disk of the host." },
        [COUNTER_RECEIVE] = { "hero_vm_network_receive_bytes_total", COUNTER_TOTAL, "Bytes that the VM received." },
        [COUNTER_TRANSMIT] = { "hero_vm_network_transmit_bytes_total", COUNTER_TOTAL, "Bytes that the VM sent." },
        [COUNTER_RECEIVE_PACKETS] = { "hero_vm_network_receive_packets_total", COUNTER_TOTAL, "Packets that the VM received." },
        [COUNTER_TRANSMIT_PACKETS] = { "hero_vm_network_transmit_packets_total", COUNTER_TOTAL, "Packets that the VM sent." },
        [COUNTER_RECEIVE_DROPS] = { "hero_vm_network_receive_drops_total", COUNTER_TOTAL, "Packets to the VM that were dropped at its link." },
        [COUNTER_TRANSMIT_DROPS] = { "hero_vm_network_transmit_drops_total", COUNTER_TOTAL, "Packets of the VM that were dropped at its link." },
};

const MetricInfo metric_info[_METRIC_MAX] = {
        [METRIC_CPU] = { "cpu_percent", "cpu", METRIC_PERCENT, COUNTER_CPU },
        [METRIC_MEMORY] = { "memory_bytes", "memory", METRIC_MEAN, COUNTER_MEMORY },
        [METRIC_MEMORY_MAX] = { "memory_max_bytes", "memory_max", METRIC_MAXIMUM, COUNTER_MEMORY },
        [METRIC_RECEIVE] = { "network_receive_bytes_per_second", "receive", METRIC_RATE, COUNTER_RECEIVE },
        [METRIC_TRANSMIT] = { "network_transmit_bytes_per_second", "transmit", METRIC_RATE, COUNTER_TRANSMIT },
        [METRIC_RECEIVE_PACKETS] = { "network_receive_packets_per_second", "receive_packets", METRIC_RATE, COUNTER_RECEIVE_PACKETS },
        [METRIC_TRANSMIT_PACKETS] = { "network_transmit_packets_per_second", "transmit_packets", METRIC_RATE, COUNTER_TRANSMIT_PACKETS },
        [METRIC_DISK_READ] = { "disk_read_bytes_per_second", "disk_read", METRIC_RATE, COUNTER_DISK_READ },
        [METRIC_DISK_WRITE] = { "disk_write_bytes_per_second", "disk_write", METRIC_RATE, COUNTER_DISK_WRITE },
        [METRIC_DISK_READS] = { "disk_reads_per_second", "disk_reads", METRIC_RATE, COUNTER_DISK_READS },
        [METRIC_DISK_WRITES] = { "disk_writes_per_second", "disk_writes", METRIC_RATE, COUNTER_DISK_WRITES },
        [METRIC_CPU_PRESSURE] = { "cpu_pressure_percent", "cpu_pressure", METRIC_PERCENT, COUNTER_CPU_PRESSURE },
        [METRIC_MEMORY_PRESSURE] = { "memory_pressure_percent", "memory_pressure", METRIC_PERCENT, COUNTER_MEMORY_PRESSURE },
        [METRIC_IO_PRESSURE] = { "io_pressure_percent", "io_pressure", METRIC_PERCENT, COUNTER_IO_PRESSURE },
};
/* clang-format on */

void usage_between(const Counters *before, const Counters *after, uint64_t span, Usage *ret) {
        ret->span = span;
        for (Metric m = 0; m < _METRIC_MAX; m++) {
                uint64_t a = before->v[metric_info[m].counter], b = after->v[metric_info[m].counter];

                if (metric_info[m].type == METRIC_MEAN || metric_info[m].type == METRIC_MAXIMUM)
                        ret->v[m] = b;
                else if (a == VALUE_UNKNOWN || b == VALUE_UNKNOWN)
                        ret->v[m] = VALUE_UNKNOWN;
                else
                        ret->v[m] = b > a ? b - a : 0;
        }
}

double usage_value(const Usage *u, Metric m) {
        double v = (double) u->v[m];

        if (u->v[m] == VALUE_UNKNOWN)
                return NAN;
        if (metric_info[m].type == METRIC_MEAN || metric_info[m].type == METRIC_MAXIMUM)
                return v;
        if (u->span == 0)
                return NAN;
        return metric_info[m].type == METRIC_PERCENT ? 100 * v / (double) u->span : 1e6 * v / (double) u->span;
}

/* Of levels, each with its time. What one half does not know, the other half speaks for. */
static uint64_t mean(uint64_t a, uint64_t span_a, uint64_t b, uint64_t span_b) {
        double span = (double) span_a + (double) span_b;

        return (uint64_t) ((double) a * ((double) span_a / span) + (double) b * ((double) span_b / span) + 0.5);
}

void usage_add(Usage *u, const Usage *next) {
        for (Metric m = 0; m < _METRIC_MAX; m++) {
                uint64_t a = u->v[m], b = next->v[m];

                if (a == VALUE_UNKNOWN || b == VALUE_UNKNOWN) {
                        u->v[m] = a == VALUE_UNKNOWN ? b : a;
                        continue;
                }
                switch (metric_info[m].type) {
                case METRIC_RATE:
                case METRIC_PERCENT:
                        u->v[m] = a + b;
                        break;
                case METRIC_MEAN:
                        u->v[m] = mean(a, u->span, b, next->span);
                        break;
                case METRIC_MAXIMUM:
                        u->v[m] = MAX2(a, b);
                        break;
                }
        }
        u->span += next->span;
}
