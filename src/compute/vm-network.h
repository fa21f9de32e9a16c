/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The network of one VM: its addresses, which it has for as long as it exists; its TAP, with the filter's entry and the routes,
 * while there is a guest; and, while the guest sleeps, the routes to hero-wake instead.
 *
 * The daemon holds the TAP open, too, so that it stays where a VMM ends whose guest sleeps on. */

#include <net/if.h>
#include <systemd/sd-bus.h>

#include "network/address.h"
#include "network/link.h"

typedef struct Vm Vm;

typedef struct VmNetwork {
        bool assigned;            /* it has addresses */
        uint32_t address_counter; /* see address-book.h; in the record */
        Address address6, address4; /* family 0: none */

        char tap[IFNAMSIZ];
        int tap_fd;
        bool filtered;            /* the filter knows it */
        uint64_t heard;           /* packets to the TAP before it was to be put to sleep */
        bool listening;           /* heard is from before vm_network_sleep() */
        bool asleep;              /* its routes lead to hero-wake, or are to */
} VmNetwork;

#define VM_ADDRESSES_MAX 2u

/* Those that it has; they stay the VM's. */
size_t vm_network_addresses(const Vm *vm, const Address *ret[static VM_ADDRESSES_MAX]);

/* The number that names the VM's TAP, of its id. */
uint32_t vm_tap_id(const char *id);

/* Gives a VM that is to have a network its addresses: the same again that its record says (address_counter, address4).
 * -EDQUOT: IPv4Pool= is used up. vm_network_give_back() when the VM goes. */
int vm_network_assign(Vm *vm, sd_bus_error *error);
void vm_network_give_back(Vm *vm);

/* Of the subnet and the pool as they are now, unless there is a guest that knows its addresses already. */
void vm_network_readdress(Vm *vm);

/* Makes filter and TAP, where they are not there already, and the routes of a VM that is not asleep. *ret_fd is the VM's. -EEXIST: the
 * TAP of its last run is not gone yet. */
int vm_network_up(Vm *vm, int *ret_fd, char **ret_text);
/* Has the kernel keep to the spec's receive_max and transmit_max, where there is a TAP or what the filter knows of one.
 * -EOPNOTSUPP: see shaper.h. */
int vm_network_set_limits(Vm *vm);

/* The VMM is gone, and its guest sleeps on: so may the TAP. For fd_store_close_after(), as PID 1 has it, too. */
int vm_network_take_tap(Vm *vm);
/* Takes all of it away; the TAP goes in the background. Call it after fd_store_remove_vm(). */
void vm_network_down(Vm *vm);

/* A VM of the former daemon. tap_fd may be negative. */
void vm_network_adopt(Vm *vm, int tap_fd);

/* To where they lead now. */
int vm_network_set_routes(Vm *vm);

/* It is to be put to sleep: what comes to its TAP from now on, or after since was read, is heard. */
void vm_network_listen(Vm *vm, const LinkCounters *since);
/* From here on packets for it are held, and wake it. */
int vm_network_sleep(Vm *vm);
/* Since then something came to its TAP: a packet that was on its way already, to which an answer may be owed. */
bool vm_network_has_heard(Vm *vm);
/* It runs: the packets go to it, first those that were held. */
void vm_network_wake(Vm *vm);
/* It could not be woken: those that were held are dropped, the next wakes it again. */
void vm_network_rest(Vm *vm);

/* What BOOT tells the guest. */
typedef struct GpWriter GpWriter;
void vm_network_write_boot(const Vm *vm, GpWriter *w);

void vm_network_mac(const Vm *vm, uint8_t ret[static 6]);
