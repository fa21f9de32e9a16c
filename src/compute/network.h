/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the VMs' networks have in common: the subnet and where it is from, the books of addresses, the packet filter, and the
 * device through which sleeping VMs are woken. What one VM has of it is in vm-network.h.
 *
 * Opened with the first VM that wants a network: a host without any pays nothing for it. */

#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "compute/resources.h"
#include "network/address-book.h"
#include "network/address.h"
#include "network/filter.h"
#include "network/ipv4-pool.h"
#include "network/mycelium.h"
#include "network/netlink.h"
#include "network/wake.h"
#include "network/wake-policy.h"

typedef struct Manager Manager;
typedef struct Vm Vm;

typedef struct Network {
        AddressBook *book;
        Ipv4Pool *pool;         /* NULL: no IPv4 */
        Subnet subnet;          /* where addresses are from now; family 0: not known yet */
        Subnet pool_subnet;
        const char *source;     /* of it: "mycelium", "configured", "local" */

        Netlink *netlink;       /* NULL: not opened */
        Mycelium *mycelium;
        bool asked;             /* mycelium has answered, or is not there */
        VmQueue waiting;        /* for that */
        Filter *filter;
        bool filter_installed;
        sd_event_source *filter_source, *filter_timer;
        uint64_t filter_since;  /* CLOCK_MONOTONIC */
        unsigned filter_repairs;/* since then */
        Wake *wake;
        WakePolicy wake_policy;
        sd_event_source *wake_source;
        int wake_ifindex;
        int wake_tun;           /* from systemd's fd store, until it is opened again */
} Network;

/* Books and subnet, which need nothing of the kernel. After the configuration was read, once. */
int network_init(Manager *m);
void network_done(Manager *m);
/* The configuration was read again: of it, only what wakes a VM holds from now on. mycelium is asked again. */
void network_reload(Manager *m);

/* What of the kernel's errors is told to who asked for a VM, to whom -EPERM and -EBUSY would be an answer about himself. */
int network_error(int error);

/* All the rest. 0 also when it is open already; -errno as of network_error() with a sentence in *ret_text. */
int network_open(Manager *m, char **ret_text);

/* After the adoption: the filter is installed, and what is left of VMs that are no more is removed. */
void network_adopted(Manager *m);

/* Once in a while: routes and device are still there, or are made again. */
void network_check(Manager *m);

/* Removes the unreachable routes of subnets that were, but for such that running VMs still have addresses of. */
void network_uncover_unused(Manager *m);

/* 1: the subnet is known. 0: the VM is called again by vm_start_resource(). */
int network_need_subnet(Vm *vm);

/* For the guests: DNS= or what the host itself asks. */
int network_dns_servers(Manager *m, char ***ret);

/* Whose address it is; NULL: nobody's. */
Vm *network_find_vm(Manager *m, const Address *a);
