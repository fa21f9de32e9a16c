/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/network.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-id128.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "compute/fd-store.h"
#include "compute/manager.h"
#include "compute/resources-internal.h"
#include "compute/steps.h"
#include "compute/vm-awake.h"
#include "network/forwarding.h"
#include "network/link.h"
#include "network/resolv-conf.h"
#include "network/route.h"
#include "network/tap.h"
#include "shared/log.h"

/* What the addresses are made from, with the machine id. Made by systemd-id128 new. */
#define ADDRESS_APPLICATION SD_ID128_MAKE(5e,0d,3b,6c,91,7a,4c,0e,8d,2f,b0,55,17,2a,c9,64)

/* Somebody who takes our table away again and again gets his way for a while. */
#define FILTER_REPAIRS_MAX 10u
#define FILTER_REPAIRS_USEC (10 * USEC_PER_SEC)

/* So many times in that interval packets for sleeping VMs are read, some dozens each time. */
#define WAKE_RATE_INTERVAL (10 * USEC_PER_MSEC)
#define WAKE_RATE_BURST 20u

static bool subnet_is_used(Manager *m, const Subnet *s) {
        if (subnet_equal(s, &m->network.subnet))
                return true;
        for (Vm *vm = m->vms_by_name; vm; vm = vm->hh_name.next)
                if (vm->network.assigned && subnet_contains(s, &vm->network.address6))
                        return true;
        return false;
}

void network_uncover_unused(Manager *m) {
        Network *n = &m->network;
        _cleanup_free_ Route *routes = NULL;
        size_t n_routes = 0;

        if (!n->netlink || route_list(n->netlink, &routes, &n_routes) < 0)
                return;
        for (size_t i = 0; i < n_routes; i++)
                if (routes[i].ifindex == 0 && !subnet_is_used(m, &routes[i].to))
                        (void) route_uncover(n->netlink, &routes[i].to);
}

static int use_subnet(Manager *m, const Subnet *s, const char *source) {
        Network *n = &m->network;
        char text[SUBNET_STRING_MAX];
        Subnet before = n->subnet;
        int r;

        n->source = source;
        if (subnet_equal(&before, s))
                return 0;
        n->subnet = *s;
        for (Vm *vm = m->vms_by_name; vm; vm = vm->hh_name.next)
                vm_network_readdress(vm);
        if (!n->netlink)
                return 0;
        /* Those that run keep the addresses they know, and with them the cover. */
        network_uncover_unused(m);
        r = route_cover(n->netlink, s);
        if (r < 0)
                log_warning_errno(r, "Cannot make the unreachable route for %s: %m", subnet_format(text, s));
        log_info("Addresses of VMs are of %s (%s)%s", subnet_format(text, s), source,
                 before.address.family ? "; VMs that run keep theirs until they are started again." : ".");
        return r;
}

static int make_books(Manager *m) {
        const ComputeConfig *c = &m->config;
        Network *n = &m->network;
        AddressKey key;
        sd_id128_t id;
        Subnet local;
        int r;

        r = sd_id128_get_machine_app_specific(ADDRESS_APPLICATION, &id);
        if (r < 0)
                return log_error_errno(r, "Cannot read the machine id, which addresses are made from: %m");
        memcpy(key.bytes, id.bytes, sizeof(key.bytes));
        r = address_book_new(&key, &n->book);
        if (r >= 0 && c->ipv4_pool.address.family) {
                n->pool_subnet = c->ipv4_pool;
                r = ipv4_pool_new(&c->ipv4_pool, &n->pool);
        }
        if (r < 0)
                return log_oom();
        subnet_unique_local(&key, &local);
        if (c->subnet.address.family)
                return use_subnet(m, &c->subnet, "configured");
        return use_subnet(m, &local, "local");
}

int network_init(Manager *m) {
        Network *n = &m->network;

        TAILQ_INIT(&n->waiting);
        n->wake_tun = -EBADF;
        network_reload(m);
        return m->config.network_enable ? make_books(m) : 0;
}

void network_reload(Manager *m) {
        /* It was checked when it was read. */
        (void) wake_policy_parse(m->config.wake_policy, &m->network.wake_policy);
        if (m->network.mycelium)
                (void) mycelium_refresh(m->network.mycelium);
}

static void close_all(Network *n) {
        n->filter_source = sd_event_source_disable_unref(n->filter_source);
        n->filter_timer = sd_event_source_disable_unref(n->filter_timer);
        n->wake_source = sd_event_source_disable_unref(n->wake_source);
        n->wake = wake_free(n->wake);
        n->filter = filter_free(n->filter);
        n->netlink = netlink_close(n->netlink);
}

void network_done(Manager *m) {
        Network *n = &m->network;

        /* The table stays, and so does hero-wake, in systemd's fd store. */
        close_all(n);
        mycelium_free(n->mycelium);
        ipv4_pool_free(n->pool);
        address_book_free(n->book);
        safe_close(n->wake_tun);
}

static void wake_waiting(Manager *m) {
        m->network.asked = true;
        resources_wake(&m->network.waiting, 0, NULL);
}

static void on_subnet(Mycelium *mycelium, const Subnet *subnet, void *userdata) {
        Manager *m = userdata;

        (void) use_subnet(m, subnet, "mycelium");
        wake_waiting(m);
}

static void on_mycelium_failed(Mycelium *mycelium, int error, void *userdata) {
        Manager *m = userdata;

        if (!mycelium_subnet(mycelium))
                log_full(error == -ECONNREFUSED ? LOG_INFO : LOG_WARNING, 0, __FILE__, __LINE__, __func__, NULL, NULL, NULL,
                         "mycelium at %s: %s; VMs get addresses of a subnet of our own until it answers.",
                         m->config.mycelium_url, mycelium_error_text(mycelium));
        wake_waiting(m);
}

static int open_mycelium(Manager *m) {
        static const MyceliumEvents events = { .subnet = on_subnet, .failed = on_mycelium_failed };
        Network *n = &m->network;
        const MyceliumOptions options = { .url = m->config.mycelium_url };

        if (m->config.subnet.address.family || !m->config.mycelium_url) {
                n->asked = true;
                return 0;
        }
        return mycelium_new(m->event, &options, &events, m, &n->mycelium);
}

static void try_filter_later(Network *n) {
        (void) sd_event_source_set_time_relative(n->filter_timer, FILTER_REPAIRS_USEC);
        (void) sd_event_source_set_enabled(n->filter_timer, SD_EVENT_ONESHOT);
}

static bool install_filter(Network *n) {
        if (filter_install(n->filter) >= 0)
                return true;
        log_error("Cannot install the nftables table '" FILTER_TABLE "', VMs are not filtered; trying again in 10s: %s",
                  filter_error(n->filter));
        try_filter_later(n);
        return false;
}

static void repair_filter(Manager *m) {
        Network *n = &m->network;
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        if (now - n->filter_since > FILTER_REPAIRS_USEC) {
                n->filter_since = now;
                n->filter_repairs = 0;
        }
        if (n->filter_repairs++ >= FILTER_REPAIRS_MAX) {
                if (n->filter_repairs == FILTER_REPAIRS_MAX + 1)
                        log_warning("Somebody keeps changing the nftables table '" FILTER_TABLE "'; waiting before it is installed again.");
                try_filter_later(n);
                return;
        }
        if (install_filter(n))
                log_notice("Somebody changed the nftables table '" FILTER_TABLE "'; it was installed again.");
}

static int on_filter(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Manager *m = userdata;

        if (filter_dispatch(m->network.filter) > 0 && m->network.filter_installed)
                repair_filter(m);
        return 0;
}

static int on_filter_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        Manager *m = userdata;

        if (filter_check(m->network.filter) <= 0)
                repair_filter(m);
        return 0;
}

static int open_filter(Manager *m, char **ret_text) {
        Network *n = &m->network;
        int r;

        r = filter_new(&n->filter);
        if (r == -ELIBBAD) {
                *ret_text = strdup("The library libnftables.so.1, which VMs with a network need, cannot be loaded. Is it installed?");
                return -EOPNOTSUPP;
        }
        if (r < 0) {
                *ret_text = strprintf("Cannot use nftables: %s. Is the kernel's module nf_tables there?", strerror(-r));
                return r;
        }
        r = sd_event_add_io(m->event, &n->filter_source, filter_fd(n->filter), EPOLLIN, on_filter, m);
        if (r >= 0)
                r = sd_event_add_time_relative(m->event, &n->filter_timer, CLOCK_MONOTONIC, FILTER_REPAIRS_USEC, USEC_PER_SEC,
                                               on_filter_timer, m);
        if (r >= 0)
                r = sd_event_source_set_enabled(n->filter_timer, SD_EVENT_OFF);
        if (r < 0 || !m->serving)
                return r; /* after the adoption, with all the TAPs there are */
        r = filter_install(n->filter);
        if (r < 0)
                *ret_text = strprintf("Cannot install the nftables table '" FILTER_TABLE "': %s", filter_error(n->filter));
        n->filter_installed = r >= 0;
        return r;
}

static void on_wake(const struct in6_addr *address, const PacketInfo *packet, void *vm, void *userdata) {
        vm_awake_packet(vm, packet);
}

static void remake_wake(Manager *m);

static int on_wake_readable(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Manager *m = userdata;
        int r;

        r = wake_dispatch(m->network.wake);
        if (r < 0 && r != -EAGAIN) {
                log_warning_errno(r, "The device " WAKE_INTERFACE " is gone, which wakes VMs; making it again: %m");
                remake_wake(m);
        }
        return 0;
}

static int open_wake(Manager *m, char **ret_text) {
        Network *n = &m->network;
        WakeFds fds = WAKE_FDS_NONE;
        Link link;
        int r, tun;

        fds.tun = TAKE_FD(n->wake_tun);
        r = wake_open(WAKE_INTERFACE, TAP_MTU, &fds);
        if (r < 0) {
                *ret_text = strprintf("Cannot make the device " WAKE_INTERFACE ": %s.%s", strerror(-r),
                                      r == -EBUSY ? " Somebody else has it open." :
                                              r == -ENOENT ? " Is the kernel's module tun there?" : "");
                wake_fds_done(&fds);
                return r;
        }
        tun = fds.tun;
        fd_store_push("wake", &tun, 1);
        r = wake_new(&fds, &WAKE_LIMITS_DEFAULT, on_wake, m, &n->wake);
        if (r < 0) {
                wake_fds_done(&fds);
                return r;
        }
        r = link_find(n->netlink, WAKE_INTERFACE, &link);
        if (r < 0)
                return r;
        n->wake_ifindex = link.ifindex;
        r = sd_event_add_io(m->event, &n->wake_source, wake_fd(n->wake), EPOLLIN, on_wake_readable, m);
        /* A flood for one that sleeps must not be all that is looked at: to wake it takes answers of others. */
        return r < 0 ? r : sd_event_source_set_ratelimit(n->wake_source, WAKE_RATE_INTERVAL, WAKE_RATE_BURST);
}

/* The host's own address among its VMs', so that it speaks to them with the same one whether they sleep or not. Where the
 * subnet is mycelium's, the node has one already. */
static void add_host_address(Manager *m) {
        Network *n = &m->network;
        Address a = n->subnet.address;

        if (streq(n->source, "mycelium"))
                return;
        a.bytes[15] = 1;
        (void) link_add_address(n->netlink, n->wake_ifindex, &a, 128);
}

/* Somebody removed it. What it held is lost, those who wait say it again. */
static void remake_wake(Manager *m) {
        _cleanup_free_ char *text = NULL;
        Network *n = &m->network;
        Wake *old = n->wake;

        n->wake_source = sd_event_source_disable_unref(n->wake_source);
        n->wake = NULL;
        fd_store_remove("wake");
        if (open_wake(m, &text) < 0) {
                wake_free(n->wake);
                n->wake = old; /* knows the addresses, and nothing comes of it */
                log_error("%s Sleeping VMs are not woken by packets until it is there; trying again in a minute.", strna(text));
                return;
        }
        wake_free(old);
        add_host_address(m);
        for (Vm *vm = m->vms_by_name; vm; vm = vm->hh_name.next)
                if (vm->network.asleep)
                        (void) vm_network_sleep(vm);
}

static int open_all(Manager *m, char **ret_text) {
        Network *n = &m->network;
        int r;

        r = netlink_open(&n->netlink);
        if (r < 0)
                return r;
        if (m->config.forwarding)
                (void) forwarding_enable();
        r = open_filter(m, ret_text);
        if (r >= 0)
                r = open_wake(m, ret_text);
        if (r < 0)
                return r;
        (void) route_cover(n->netlink, &n->subnet);
        add_host_address(m);
        return open_mycelium(m);
}

int network_error(int error) {
        return error == -EOPNOTSUPP || error == -ENOMEM ? error : -EIO;
}

int network_open(Manager *m, char **ret_text) {
        int r;

        if (m->network.mycelium || m->network.asked)
                return 0;
        r = open_all(m, ret_text);
        if (r < 0) {
                close_all(&m->network);
                if (!*ret_text)
                        *ret_text = strprintf("Cannot set up the VMs' network: %s.", strerror(-r));
                return network_error(r);
        }
        return 0;
}

static bool is_a_vms_tap(Manager *m, const char *name) {
        for (Vm *vm = m->vms_by_name; vm; vm = vm->hh_name.next)
                if (streq(vm->network.tap, name))
                        return true;
        return false;
}

/* Of VMs that ended while nobody looked: their TAPs are gone with the VMMs, their routes with the TAPs; not so those of VMs that
 * slept. */
static void remove_leftovers(Manager *m) {
        Network *n = &m->network;
        _cleanup_free_ Route *routes = NULL;
        _cleanup_free_ Tap *taps = NULL;
        size_t n_routes = 0, n_taps = 0;

        if (tap_list(n->netlink, &taps, &n_taps) >= 0)
                for (size_t i = 0; i < n_taps; i++)
                        if (!is_a_vms_tap(m, taps[i].name)) {
                                log_notice("%s belongs to no VM, removing it.", taps[i].name);
                                (void) tap_remove(n->netlink, taps[i].name);
                        }
        if (route_list(n->netlink, &routes, &n_routes) >= 0)
                for (size_t i = 0; i < n_routes; i++)
                        if (routes[i].ifindex > 0 && !network_find_vm(m, &routes[i].to.address))
                                (void) route_remove(n->netlink, &routes[i].to.address, routes[i].ifindex);
        network_uncover_unused(m);
}

void network_adopted(Manager *m) {
        Network *n = &m->network;

        if (!n->netlink)
                return;
        (void) install_filter(n);
        n->filter_installed = true;
        remove_leftovers(m);
}

static int compare_routes(const void *a, const void *b) {
        return memcmp(&((const Route *) a)->to, &((const Route *) b)->to, sizeof(Subnet));
}

static bool has_route(const Route *routes, size_t n, const Address *a, int ifindex) {
        const Route key = { .to = { .address = *a, .prefix = address_bits(a) } }, *found;

        if (a->family == 0)
                return true;
        found = n > 0 ? bsearch(&key, routes, n, sizeof(*routes), compare_routes) : NULL;
        return found && found->ifindex == ifindex;
}

/* Whoever flushes routes, or manages them all, takes ours away. */
static void check_routes(Manager *m) {
        Network *n = &m->network;
        _cleanup_free_ Route *routes = NULL;
        size_t k = 0;

        if (route_list(n->netlink, &routes, &k) < 0)
                return;
        if (k > 0)
                qsort(routes, k, sizeof(*routes), compare_routes);
        for (Vm *vm = m->vms_by_name; vm; vm = vm->hh_name.next) {
                const VmNetwork *v = &vm->network;
                int ifindex = v->asleep ? n->wake_ifindex : vm->tap_ifindex;

                if (ifindex == 0 || !v->filtered || vm->job ||
                    (has_route(routes, k, &v->address6, ifindex) && has_route(routes, k, &v->address4, ifindex)))
                        continue;
                log_vm_warning(vm, "Somebody removed the routes to VM '%s'; setting them again.", vm->name);
                (void) vm_network_set_routes(vm);
        }
        (void) route_cover(n->netlink, &n->subnet);
        network_uncover_unused(m);
}

void network_check(Manager *m) {
        if (!m->network.netlink)
                return;
        if (!m->network.wake_source)
                remake_wake(m);
        check_routes(m);
}

int network_need_subnet(Vm *vm) {
        Network *n = &vm->manager->network;

        if (n->asked)
                return 1;
        resources_wait(vm, &n->waiting);
        return 0;
}

int network_dns_servers(Manager *m, char ***ret) {
        if (!m->config.dns)
                return resolv_conf_servers(ret);
        *ret = strv_copy(m->config.dns);
        return *ret ? 0 : -ENOMEM;
}

Vm *network_find_vm(Manager *m, const Address *a) {
        for (Vm *vm = m->vms_by_name; vm; vm = vm->hh_name.next)
                if (a->family != 0 && (address_equal(&vm->network.address6, a) || address_equal(&vm->network.address4, a)))
                        return vm;
        return NULL;
}
