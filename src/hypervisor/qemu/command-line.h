/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The QEMU command line of a VM. Pure: no file is looked at, the same spec gives the same words; golden files in
 * tests/unit/data/qemu-*.args. */

#include "hypervisor/hypervisor.h"

/* Bytes of TCG's translation cache. Its default is a share of the host's memory. */
#define QEMU_TB_SIZE (UINT64_C(64) << 20)

/* Name of the object that is the guest's memory when it lies in a file. */
#define QEMU_MEMORY "mem"

/* tsc_khz: see tsc.h; 0 when it is not known. */
int qemu_command_line(const VmmSpec *spec, unsigned tsc_khz, VmmCommand *ret);

/* What QEMU itself needs beyond the guest's memory. */
uint64_t qemu_memory_overhead(const VmmSpec *spec);
