/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/vm-network.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "compute/fd-store.h"
#include "compute/manager.h"
#include "guest-protocol/guest-protocol.h"
#include "network/link.h"
#include "network/route.h"
#include "network/shaper.h"
#include "network/tap.h"
#include "shared/error-names.h"
#include "shared/log.h"

uint32_t vm_tap_id(const char *id) {
        char digits[9] = "";

        memcpy(digits, id, 8);
        return (uint32_t) strtoul(digits, NULL, 16);
}

/* Of a VM that is nobody's: no user id has a '/'. */
static char *book_key(const Vm *vm) {
        return vm->spec.user ? strdup(vm->spec.user) : strprintf("/%s", vm->id);
}

static bool is_wanted(const Vm *vm) {
        return vm->manager->network.book && !vm->spec.no_network;
}

static bool guest_knows_address(const Vm *vm) {
        return vm->network.filtered || (vm_state_is_active(vm->state) && vm->state != VM_STARTING);
}

static int take_ipv4(Vm *vm) {
        Network *n = &vm->manager->network;
        VmNetwork *v = &vm->network;
        int r;

        if (!n->pool) {
                v->address4 = (Address) {};
                return 0;
        }
        /* What the record says; another one when the pool is another than it was. */
        r = v->address4.family ? ipv4_pool_claim(n->pool, vm->id, &v->address4) : -EADDRNOTAVAIL;
        if (r == -EADDRNOTAVAIL || r == -EADDRINUSE)
                r = ipv4_pool_take(n->pool, vm->id, &v->address4);
        return r == -EEXIST ? 0 : r;
}

void vm_network_readdress(Vm *vm) {
        _cleanup_free_ char *key = NULL;
        Network *n = &vm->manager->network;
        Address a, before = vm->network.address6;

        if (!vm->network.assigned || guest_knows_address(vm))
                return;
        (void) take_ipv4(vm);
        key = book_key(vm);
        if (!key || address_book_address(n->book, key, &n->subnet, &a) < 0 || address_equal(&a, &before))
                return;
        vm->network.address6 = a;
        if (before.family != 0)
                vm_changed(vm, "MyceliumIP", NULL);
        if (before.family != 0 && !subnet_contains(&n->subnet, &before))
                network_uncover_unused(vm->manager); /* it may have been the last one of a subnet that was */
}

int vm_network_assign(Vm *vm, sd_bus_error *error) {
        _cleanup_free_ char *key = NULL;
        Network *n = &vm->manager->network;
        VmNetwork *v = &vm->network;
        int r;

        if (!is_wanted(vm))
                return 0;
        key = book_key(vm);
        if (!key)
                return -ENOMEM;
        r = address_book_take(n->book, key, &v->address_counter);
        if (r < 0)
                return r;
        if (!guest_knows_address(vm))
                r = take_ipv4(vm);
        else if (n->pool && v->address4.family)
                (void) ipv4_pool_claim(n->pool, vm->id, &v->address4); /* of another pool: it is its own until it stops */
        if (r < 0) {
                address_book_give_back(n->book, key);
                return r != -EDQUOT ? r : sd_bus_error_set(error, ERROR_NO_CAPACITY,
                                                           "All addresses of IPv4Pool= in compute.conf are taken. Delete a "
                                                           "VM, or make the pool larger.");
        }
        v->assigned = true;
        tap_name(v->tap, vm_tap_id(vm->id));
        /* A guest that runs has those it was started with, whatever the subnet is by now. */
        vm_network_readdress(vm);
        return 0;
}

void vm_network_give_back(Vm *vm) {
        _cleanup_free_ char *key = NULL;
        Network *n = &vm->manager->network;

        if (!vm->network.assigned)
                return;
        key = book_key(vm);
        if (key)
                address_book_give_back(n->book, key);
        if (n->pool)
                ipv4_pool_give_back(n->pool, vm->id);
        vm->network.assigned = false;
}

void vm_network_mac(const Vm *vm, uint8_t ret[static 6]) {
        /* The host's end has the same but for the first byte. */
        tap_mac(vm->network.tap, ret);
        ret[0] = 0x06;
}

size_t vm_network_addresses(const Vm *vm, const Address *ret[static VM_ADDRESSES_MAX]) {
        const VmNetwork *v = &vm->network;
        size_t n = 0;

        if (v->address6.family)
                ret[n++] = &v->address6;
        if (v->address4.family)
                ret[n++] = &v->address4;
        return n;
}

static int set_routes(Vm *vm, int ifindex) {
        const Address *a[VM_ADDRESSES_MAX];
        size_t n = vm_network_addresses(vm, a);
        int r = 0;

        for (size_t i = 0; i < n && r >= 0; i++)
                r = route_set(vm->manager->network.netlink, a[i], ifindex);
        return r;
}

static void remove_routes(Vm *vm) {
        const Address *a[VM_ADDRESSES_MAX];
        size_t n = vm_network_addresses(vm, a);

        for (size_t i = 0; i < n; i++)
                (void) route_remove(vm->manager->network.netlink, a[i], 0);
}

static int add_to_filter(Vm *vm) {
        VmNetwork *v = &vm->network;
        FilterTap t = { .tap = v->tap, .owner = vm->spec.user, .transmit_max = vm_spec_transmit_max(&vm->spec) };

        if (v->address6.family)
                memcpy(&t.address6, v->address6.bytes, sizeof(t.address6));
        if (v->address4.family)
                memcpy(&t.address4, v->address4.bytes, sizeof(t.address4));
        return filter_add(vm->manager->network.filter, &t);
}

static int failed(Vm *vm, int error, const char *what, const char *why, char **ret_text) {
        *ret_text = strprintf("Cannot %s of VM '%s': %s.", what, vm->name, isempty(why) ? strerror(-error) : why);
        return error == -EEXIST ? error : network_error(error);
}

static int set_receive_max(Vm *vm) {
        return shaper_set(vm->manager->network.netlink, vm->tap_ifindex, vm_spec_receive_max(&vm->spec));
}

int vm_network_set_limits(Vm *vm) {
        VmNetwork *v = &vm->network;
        int r = 0;

        if (vm->tap_ifindex > 0)
                r = set_receive_max(vm);
        if (r >= 0 && v->filtered)
                r = filter_set_transmit_max(vm->manager->network.filter, v->tap, vm_spec_transmit_max(&vm->spec));
        return r;
}

static int make_tap(Vm *vm, char **ret_text) {
        Network *n = &vm->manager->network;
        VmNetwork *v = &vm->network;
        int r;

        if (v->tap_fd >= 0)
                return 0;
        r = tap_create(n->netlink, v->tap, &v->tap_fd, &vm->tap_ifindex);
        if (r < 0)
                return failed(vm, r, "make the TAP", netlink_error_text(n->netlink), ret_text);
        r = set_receive_max(vm);
        return r < 0 ? failed(vm, r, "limit the network", netlink_error_text(n->netlink), ret_text) : 0;
}

int vm_network_up(Vm *vm, int *ret_fd, char **ret_text) {
        Network *n = &vm->manager->network;
        VmNetwork *v = &vm->network;
        int r = 0;

        /* Not known to the filter is not filtered, so this is first. */
        if (!v->filtered)
                r = add_to_filter(vm);
        if (r < 0)
                return failed(vm, r, "set up the packet filter", filter_error(n->filter), ret_text);
        v->filtered = true;
        r = make_tap(vm, ret_text);
        if (r >= 0 && !v->asleep) {
                r = set_routes(vm, vm->tap_ifindex);
                if (r < 0)
                        (void) failed(vm, r, "set the routes", netlink_error_text(n->netlink), ret_text);
        }
        if (r >= 0)
                *ret_fd = v->tap_fd;
        return r; /* what was made goes with the runtime: vm_network_down() */
}

static void as_mapped(const Address *a, struct in6_addr *ret) {
        struct in_addr a4;

        if (a->family == AF_INET6) {
                memcpy(ret, a->bytes, sizeof(*ret));
                return;
        }
        memcpy(&a4, a->bytes, sizeof(a4));
        *ret = packet_map_address4(a4);
}

/* The VM's addresses as wake.h has them. */
static size_t wake_addresses(const Vm *vm, struct in6_addr ret[static VM_ADDRESSES_MAX]) {
        const Address *a[VM_ADDRESSES_MAX];
        size_t n = vm_network_addresses(vm, a);

        for (size_t i = 0; i < n; i++)
                as_mapped(a[i], &ret[i]);
        return n;
}

static void disarm(Vm *vm) {
        struct in6_addr a[VM_ADDRESSES_MAX];
        size_t n = wake_addresses(vm, a);

        for (size_t i = 0; i < n; i++)
                wake_disarm(vm->manager->network.wake, &a[i]);
        vm->network.asleep = false;
}

int vm_network_take_tap(Vm *vm) {
        vm->tap_ifindex = 0;
        return TAKE_FD(vm->network.tap_fd);
}

void vm_network_down(Vm *vm) {
        VmNetwork *v = &vm->network;

        if (v->filtered) {
                remove_routes(vm);
                disarm(vm);
                (void) filter_remove(vm->manager->network.filter, v->tap);
                v->filtered = false;
        }
        fd_store_close_after(vm->manager, vm_network_take_tap(vm));
}

static bool has_tap(const Vm *vm) {
        return vm->state != VM_HIBERNATED && vm->runtime && vm->runtime->process.pid > 0;
}

/* On its way to or from sleep, too: what it comes to moves the routes back, and until then nobody answers at the TAP. */
static bool is_not_awake(const Vm *vm) {
        return vm_is_asleep(vm) || vm->state == VM_SUSPENDING || vm->state == VM_HIBERNATING || vm->state == VM_RESUMING;
}

static int adopt(Vm *vm) {
        _cleanup_free_ char *text = NULL;
        Network *n = &vm->manager->network;
        VmNetwork *v = &vm->network;
        int r;

        r = network_open(vm->manager, &text);
        if (r < 0) {
                log_vm_warning(vm, "%s", strna(text));
                return r;
        }
        r = add_to_filter(vm);
        if (r < 0)
                return r;
        v->filtered = true;
        if (v->tap_fd >= 0 || has_tap(vm)) {
                r = tap_find(n->netlink, v->tap, &vm->tap_ifindex);
                if (r < 0)
                        return r;
        }
        if (is_not_awake(vm))
                return vm_network_sleep(vm);
        return vm->tap_ifindex > 0 ? set_routes(vm, vm->tap_ifindex) : 0;
}

void vm_network_adopt(Vm *vm, int tap_fd) {
        int r;

        vm->network.tap_fd = tap_fd;
        r = vm->network.assigned ? adopt(vm) : 0;
        if (r < 0)
                log_vm_warning_errno(vm, r, "VM '%s' was adopted without its network: %m", vm->name);
}

static uint64_t packets_to(const Vm *vm) {
        LinkCounters c;

        return vm->tap_ifindex > 0 && link_counters_of(vm->manager->network.netlink, vm->tap_ifindex, &c) >= 0 ? c.sent_packets : 0;
}

void vm_network_listen(Vm *vm, const LinkCounters *since) {
        if (!vm->network.filtered)
                return;
        vm->network.heard = since ? since->sent_packets : packets_to(vm);
        vm->network.listening = true;
}

/* The kernel counts what was read; what was not lies in the TAP. */
bool vm_network_has_heard(Vm *vm) {
        struct pollfd p = { .fd = vm->network.tap_fd, .events = POLLIN };

        return vm->network.asleep && (packets_to(vm) != vm->network.heard || poll(&p, 1, 0) > 0);
}

int vm_network_sleep(Vm *vm) {
        Network *n = &vm->manager->network;
        struct in6_addr a[VM_ADDRESSES_MAX];
        size_t k;
        int r = 0;

        if (!vm->network.filtered)
                return 0;
        vm->network.asleep = true;
        if (!vm->network.listening)
                vm->network.heard = packets_to(vm);
        vm->network.listening = false;
        k = wake_addresses(vm, a);
        /* Known before the first packet can come that way. */
        for (size_t i = 0; i < k && r >= 0; i++)
                r = wake_arm(n->wake, &a[i], &n->wake_policy, vm);
        return r < 0 ? r : set_routes(vm, n->wake_ifindex);
}

void vm_network_wake(Vm *vm) {
        struct in6_addr a[VM_ADDRESSES_MAX];
        size_t n;
        int r;

        if (!vm->network.asleep)
                return;
        vm->network.asleep = false;
        r = set_routes(vm, vm->tap_ifindex);
        if (r < 0)
                log_vm_warning_errno(vm, r, "Cannot route to VM '%s' again: %m", vm->name);
        n = wake_addresses(vm, a);
        for (size_t i = 0; i < n; i++)
                (void) wake_release(vm->manager->network.wake, &a[i]);
}

int vm_network_set_routes(Vm *vm) {
        return set_routes(vm, vm->network.asleep ? vm->manager->network.wake_ifindex : vm->tap_ifindex);
}

void vm_network_rest(Vm *vm) {
        struct in6_addr a[VM_ADDRESSES_MAX];
        size_t n;

        if (!vm->network.asleep)
                return;
        n = wake_addresses(vm, a);
        for (size_t i = 0; i < n; i++)
                (void) wake_rest(vm->manager->network.wake, &a[i]);
}

static void to_gp(const Address *a, GpAddress *ret) {
        *ret = (GpAddress) { .family = a->family };
        memcpy(ret->bytes, a->bytes, sizeof(ret->bytes));
}

static void write_address(GpWriter *w, const Address *a) {
        GpPrefix p = { .length = (uint8_t) address_bits(a) };

        to_gp(a, &p.address);
        gp_writer_prefix(w, GP_FIELD_ADDRESS, &p);
}

static void write_route(GpWriter *w, const char *to, const char *gateway) {
        GpRoute route = {};
        Address a;
        Subnet s;

        if (subnet_parse(to, &s) < 0 || address_parse(gateway, &a) < 0)
                return;
        to_gp(&s.address, &route.destination.address);
        route.destination.length = (uint8_t) s.prefix;
        to_gp(&a, &route.gateway);
        gp_writer_route(w, GP_FIELD_ROUTE, &route);
}

static void write_dns(GpWriter *w, char *const *servers) {
        unsigned n = 0;

        STRV_FOREACH(i, servers) {
                GpAddress g;
                Address a;

                if (n++ >= GP_DNS_SERVERS_MAX || address_parse(*i, &a) < 0)
                        continue;
                to_gp(&a, &g);
                gp_writer_address(w, GP_FIELD_DNS_SERVER, &g);
        }
}

static void write_host(GpWriter *w, const Vm *vm, const Address *a) {
        _cleanup_free_ char *line = NULL;
        char buf[ADDRESS_STRING_MAX];

        line = strprintf("%s %s", address_format(buf, a), vm->name);
        gp_writer_string(w, GP_FIELD_HOST, line);
}

void vm_network_write_boot(const Vm *vm, GpWriter *w) {
        const Network *n = &vm->manager->network;
        const VmNetwork *v = &vm->network;
        _cleanup_strv_free_ char **servers = NULL;

        if (!v->filtered)
                return;
        gp_writer_u32(w, GP_FIELD_MTU, TAP_MTU);
        if (v->address6.family) {
                write_address(w, &v->address6);
                write_host(w, vm, &v->address6);
                /* No default route where addresses are of a kind that the world does not answer: a guest then knows at once. */
                if (streq(n->source, "configured"))
                        write_route(w, "::/0", TAP_GATEWAY_IPV6);
                else {
                        write_route(w, "400::/7", TAP_GATEWAY_IPV6);
                        write_route(w, "fc00::/7", TAP_GATEWAY_IPV6);
                }
        }
        if (v->address4.family) {
                write_address(w, &v->address4);
                write_host(w, vm, &v->address4);
                write_route(w, "0.0.0.0/0", TAP_GATEWAY_IPV4);
        }
        if (network_dns_servers(vm->manager, &servers) >= 0)
                write_dns(w, servers);
}
