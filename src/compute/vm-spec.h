/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What somebody wants: the a{sv} of CreateVM() and ProvisionUser(), checked. Owned by whoever parsed it; a VM
 * takes it over. Every bound on a VM is here. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

#define VM_NAME_MAX 63u
#define USER_ID_MAX 64u
#define IMAGE_REFERENCE_MAX 256u
#define VM_CPUS_MAX 64u
#define VM_MEMORY_MIN (UINT64_C(64) << 20)
#define VM_MEMORY_MAX (UINT64_C(1) << 40)
#define VM_MEMORY_ALIGN (UINT64_C(1) << 20)
#define VM_STRINGS_MAX 256u         /* entries of each list */
#define VM_STRINGS_SIZE_MAX 24576u  /* their bytes together: the boot message to the guest is bounded */
#define VM_WEIGHT_MAX 10000u
#define VM_RATE_MAX (UINT64_C(1) << 40) /* from SHAPER_RATE_MIN */

typedef enum RunImage {
        RUN_IMAGE_DEFAULT, /* not given: as RUN_IMAGE */
        RUN_IMAGE,
        RUN_NOTHING,
} RunImage;

typedef struct VmSpec {
        char *name;      /* only from the Name key of ProvisionUser() */
        char *user;
        char *image;
        char *hypervisor;
        unsigned cpus;   /* 0: not given */
        uint64_t memory, disk; /* bytes; 0: not given */
        uint64_t cpu_weight, io_weight; /* 0: not given */
        char **command;
        char **entrypoint, **arguments; /* NULL: not given; may be given and empty */
        char **environment;
        char *run_as;    /* user[:group] */
        RunImage run_image;
        char *working_directory;
        char *kernel_arguments;
        char *mock_script;
        bool no_network; /* has none, not even a TAP */
        bool network_given;
        uint64_t receive_max, transmit_max; /* bytes a second, as the guest sees it; 0: not given, UINT64_MAX: no limit */
        uint64_t idle_timeout, hibernate_delay; /* µs; 0: not given, UINT64_MAX: never */
        bool transient;  /* deleted when it has ended: transient.c */
        bool as_owner;   /* who asks does so for the owner, who is no administrator; not kept */
} VmSpec;

void vm_spec_done(VmSpec *s);

/* What holds: UINT64_MAX for no limit, given as that or not at all. */
static inline uint64_t vm_spec_receive_max(const VmSpec *s) {
        return s->receive_max ?: UINT64_MAX;
}
static inline uint64_t vm_spec_transmit_max(const VmSpec *s) {
        return s->transmit_max ?: UINT64_MAX;
}

bool vm_name_is_valid(const char *name);
bool user_id_is_valid(const char *user);
bool environment_is_valid(char *const *environment);

/* Turns a user id into a VM name: lower case, anything else becomes '-', at most 63 characters. Does not say whether the
 * name is free. NULL on ENOMEM or when nothing usable is left. */
char *vm_name_from_user(const char *user);

/* Reads the a{sv}. keys: which set is allowed. On failure error says which key and what it may be. */
typedef enum VmSpecKeys {
        VM_SPEC_CREATE,
        VM_SPEC_PROVISION,
        VM_SPEC_RESOURCES, /* SetResources() */
        VM_SPEC_IDLE,      /* SetIdlePolicy() */
} VmSpecKeys;
int vm_spec_read(sd_bus_message *m, VmSpecKeys keys, VmSpec *ret, sd_bus_error *error);

/* Checks values wherever they came from (bus, record, configuration). */
int vm_spec_check(const VmSpec *s, sd_bus_error *error);

typedef struct ComputeConfig ComputeConfig;

/* Asks for what only administrators give: the driver, what the guest's kernel is told, more than [Users] allows. */
bool vm_spec_is_privileged(const VmSpec *s, const ComputeConfig *config);

/* The same, and -EACCES with error set when it is asked for AsOwner. */
int vm_spec_needs_admin(const VmSpec *s, const ComputeConfig *config, sd_bus_error *error);
