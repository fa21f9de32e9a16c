/* SPDX-License-Identifier: Apache-2.0 */

/* Pulls: the work of a job that gets an image from its registry.
 *
 *   wait → (a place) → resolve: what the registry has under the name, and where that is an index, for the platform
 *        → have it: done
 *        → (room) → fetch: configuration and layers → convert.c
 *
 * All that comes from the fetcher is checked here against digests before it is looked at; layers by the worker that
 * reads them. */

#include <stdio.h>
#include <sys/stat.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "imaged/convert.h"
#include "imaged/document.h"
#include "imaged/fetch-client.h"
#include "imaged/space.h"
#include "shared/error-names.h"
#include "shared/log.h"

#define INDEXES_MAX 2u
/* The fetcher notices first, and knows why. */
#define STALL_GRACE (5 * USEC_PER_SEC)
/* Configuration and what skopeo writes besides, on top of the layers. */
#define COPY_SLACK (UINT64_C(8) << 20)

typedef struct Pull {
        Job *job;
        Imaged *imaged;
        bool running; /* has one of the places */
        sd_event_source *start, *timeout, *stall;
        FetchClient *client;
        SpaceRequest *space;
        Conversion *conversion;

        unsigned n_indexes;             /* looked through */
        char digest[DIGEST_LENGTH + 1]; /* of the manifest, or of what is asked for; "" while only the tag is known */
        OciManifest manifest;
        bool has_manifest;
        uint64_t bytes; /* last progress */
        unsigned blobs;
} Pull;

static void pull_free(void *work) {
        Pull *p = work;

        p->imaged->n_pulls -= p->running;
        sd_event_source_disable_unref(p->start);
        sd_event_source_disable_unref(p->timeout);
        sd_event_source_disable_unref(p->stall);
        fetch_client_free(p->client);
        space_request_free(p->space);
        conversion_free(p->conversion);
        if (p->has_manifest)
                oci_manifest_done(&p->manifest);
        free(p);
}

_printf_(3, 4) static void fail(Pull *p, const char *error_name, const char *format, ...) {
        char sentence[FETCH_SENTENCE_MAX + REFERENCE_LOCATION_MAX + 64];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(sentence, sizeof(sentence), format, ap);
        va_end(ap);
        job_fail(p->job, error_name, utf8_sanitize(sentence));
}

static void fail_errno(Pull *p, int error, const char *what) {
        fail(p, error == -ENOMEM ? SD_BUS_ERROR_NO_MEMORY : ERROR_PULL_FAILED, "%s: %s.", what, strerror(-error));
}

/* True when the job has ended with it: the image of this digest is here and whole. */
static bool finish_with(Pull *p, const char *digest) {
        Image *i = catalog_find_whole(&p->imaged->catalog, digest);

        if (i)
                job_done_with(p->job, i);
        return i;
}

/* Something came: the time begins anew. */
static int rearm_stall(Pull *p) {
        uint64_t timeout = p->imaged->config.stall_timeout;
        int r;

        if (timeout == USEC_INFINITY)
                return sd_event_source_set_enabled(p->stall, SD_EVENT_OFF);
        r = sd_event_source_set_time_relative(p->stall, timeout + STALL_GRACE);
        return r < 0 ? r : sd_event_source_set_enabled(p->stall, SD_EVENT_ONESHOT);
}

static int inspect(Pull *p) {
        char location[REFERENCE_LOCATION_MAX + DIGEST_LENGTH + 2];
        int r;

        reference_location(p->job->reference, isempty(p->digest) ? NULL : p->digest, location);
        r = fetch_client_inspect(p->client, location);
        return r < 0 ? r : rearm_stall(p);
}

static void copy(Pull *p) {
        char location[REFERENCE_LOCATION_MAX + DIGEST_LENGTH + 2];
        int r;

        reference_location(p->job->reference, p->digest, location);
        job_set_step(p->job, STEP_FETCH);
        job_set_progress(p->job, 0, p->manifest.layers_size);
        job_set_layers(p->job, 0, (uint32_t) p->manifest.n_layers);
        r = fetch_client_copy(p->client, p->manifest.layers_size + COPY_SLACK, location);
        if (r >= 0)
                r = rearm_stall(p);
        if (r < 0)
                fail_errno(p, r, "The service that fetches images cannot be asked");
}

static void on_room(const char *why, void *userdata) {
        Pull *p = userdata;

        p->space = NULL; /* frees itself */
        if (why)
                return fail(p, ERROR_NO_CAPACITY, "%s", why);
        copy(p);
}

/* 0, or the job has failed: the document is what was asked for by this digest ("": not known yet). */
static int check_document(Pull *p, int fd, const char *wanted, char **ret, size_t *ret_size,
                char digest[static DIGEST_LENGTH + 1]) {
        int r;

        r = document_read(fd, 0, UINT64_MAX, ret, ret_size);
        if (r >= 0)
                r = document_digest(*ret, *ret_size, digest);
        if (r == -E2BIG)
                fail(p, ERROR_LIMIT_EXCEEDED, "The registry sent a document of more than %u MiB.", OCI_JSON_MAX >> 20);
        else if (r < 0)
                fail_errno(p, r, "What was fetched cannot be read");
        else if (!isempty(wanted) && !streq(wanted, digest)) {
                r = -EBADMSG;
                fail(p, ERROR_BAD_IMAGE, "The registry sent %s where %s was asked for.", digest, wanted);
        }
        return r;
}

static void follow_index(Pull *p, const char *json, size_t n) {
        _cleanup_free_ char *why = NULL;
        OciDescriptor d;
        int r;

        r = oci_index_choose(json, n, p->job->platform, NULL, &d, &why);
        if (r < 0)
                return fail(p, r == -ENOENT ? ERROR_NO_SUCH_IMAGE : ERROR_BAD_IMAGE, "%s", why ?: strerror(-r));
        if (p->n_indexes++ >= INDEXES_MAX)
                return fail(p, ERROR_BAD_IMAGE, "It is an index of indexes of indexes.");
        strcpy(p->digest, d.digest);
        if (d.kind == OCI_MANIFEST && finish_with(p, d.digest))
                return;
        r = inspect(p);
        if (r < 0)
                fail_errno(p, r, "The service that fetches images cannot be asked");
}

static void follow_manifest(Pull *p, const char *json, size_t n) {
        const ImagesConfig *config = &p->imaged->config;
        _cleanup_free_ char *why = NULL;
        int r;

        if (finish_with(p, p->digest))
                return;
        r = oci_manifest_parse(json, n, &p->manifest, &why);
        if (r < 0)
                return fail(p, ERROR_BAD_IMAGE, "%s", why ?: strerror(-r));
        p->has_manifest = true;
        if (p->manifest.layers_size > config->image_size_max) {
                char size[FORMAT_BYTES_MAX], max[FORMAT_BYTES_MAX];

                return fail(p, ERROR_LIMIT_EXCEEDED, "The image has %s, ImageSizeMax=%s is allowed.",
                                format_bytes(size, p->manifest.layers_size), format_bytes(max, config->image_size_max));
        }
        (void) sd_event_source_set_enabled(p->stall, SD_EVENT_OFF); /* it is on us now */
        r = space_request(p->job, p->manifest.layers_size, on_room, p, &p->space);
        if (r < 0)
                fail_errno(p, r, "Room for the image cannot be made");
}

static void on_document(Pull *p, int fd) {
        _cleanup_free_ char *json = NULL, *why = NULL;
        char digest[DIGEST_LENGTH + 1];
        OciKind kind;
        size_t n;
        int r;

        if (p->has_manifest)
                return fail_errno(p, -EBADMSG, "The service that fetches images answers what it was not asked");
        if (check_document(p, fd, p->digest, &json, &n, digest) < 0)
                return;
        strcpy(p->digest, digest);
        r = oci_document_kind(json, n, &kind, &why);
        if (r < 0)
                return fail(p, ERROR_BAD_IMAGE, "%s", why ?: strerror(-r));
        if (kind == OCI_INDEX)
                follow_index(p, json, n);
        else
                follow_manifest(p, json, n);
}

/* The fd of the blob that calls itself so, and has this size; -ENOENT. */
static int find_blob(const FetchAnswer *answer, const char *digest, uint64_t size) {
        const char *hex = digest + strlen(DIGEST_PREFIX), *name = answer->message->text;

        for (size_t i = 0; i < answer->n_fds && *name; i++) {
                size_t n = strcspn(name, " ");
                struct stat st;

                if (n == DIGEST_HEX_LENGTH && strncmp(name, hex, n) == 0) {
                        if (fstat(answer->fds[i], &st) < 0)
                                return negative_errno();
                        return S_ISREG(st.st_mode) && (uint64_t) st.st_size == size ? answer->fds[i] : -ENOENT;
                }
                name += n + (name[n] == ' ');
        }
        return -ENOENT;
}

static int read_config(Pull *p, const FetchAnswer *answer, ImageConfig *ret) {
        const OciDescriptor *d = &p->manifest.config;
        _cleanup_free_ char *json = NULL, *why = NULL;
        char digest[DIGEST_LENGTH + 1];
        int r, fd;
        size_t n;

        fd = find_blob(answer, d->digest, d->size);
        if (fd < 0) {
                fail(p, ERROR_BAD_IMAGE, "The registry did not send the configuration %s as it is described.", d->digest);
                return fd;
        }
        r = check_document(p, fd, d->digest, &json, &n, digest);
        if (r < 0)
                return r;
        r = oci_config_parse(json, n, ret, &why);
        if (r < 0) {
                fail(p, ERROR_BAD_IMAGE, "%s", why ?: strerror(-r));
                return r;
        }
        r = oci_config_check(ret, p->manifest.n_layers, p->job->platform, &why);
        if (r < 0) {
                image_config_done(ret);
                fail(p, r == -ENOENT ? ERROR_NO_SUCH_IMAGE : ERROR_BAD_IMAGE, "%s", why ?: strerror(-r));
        }
        return r;
}

static void on_files(Pull *p, const FetchAnswer *answer) {
        _cleanup_free_ LayerBlob *layers = new0(LayerBlob, p->manifest.n_layers);
        _cleanup_(image_config_done) ImageConfig config = {};
        int r;

        if (!layers)
                return fail_errno(p, -ENOMEM, "The image cannot be converted");
        if (read_config(p, answer, &config) < 0)
                return;
        for (size_t i = 0; i < p->manifest.n_layers; i++) {
                const OciDescriptor *d = p->manifest.layers + i;

                r = find_blob(answer, d->digest, d->size);
                if (r < 0)
                        return fail(p, ERROR_BAD_IMAGE, "The registry did not send the layer %s as it is described.",
                                        d->digest);
                /* What is in it the diff_id tells, which is not to be had without reading all of it. Its own digest, which
                 * skopeo has checked, would tell nothing more, and takes as long. */
                layers[i] = (LayerBlob) { .fd = r, .size = d->size, .diff_id = config.diff_ids[i] };
        }
        /* The fetcher can end, its files stay as long as the worker has them open. */
        p->client = fetch_client_free(p->client);
        (void) sd_event_source_set_enabled(p->stall, SD_EVENT_OFF);
        r = conversion_start(p->job, p->digest, &config, layers, p->manifest.n_layers, &p->conversion);
        if (r < 0)
                fail_errno(p, r, "The image cannot be converted");
}

static void on_error(Pull *p, const FetchMessage *message) {
        static const char *const names[_FETCH_ERROR_MAX] = {
                [FETCH_NO_SUCH_IMAGE] = ERROR_NO_SUCH_IMAGE,
                [FETCH_FAILED] = ERROR_PULL_FAILED,
                [FETCH_TOO_LARGE] = ERROR_LIMIT_EXCEEDED,
                [FETCH_NO_SPACE] = ERROR_NO_CAPACITY,
        };

        fail(p, names[message->error], "%s", message->text);
}

static void on_copy_progress(Pull *p, const FetchMessage *message) {
        const OciManifest *m = &p->manifest;

        if (message->bytes > p->bytes || message->blobs > p->blobs)
                (void) rearm_stall(p);
        p->bytes = message->bytes;
        p->blobs = message->blobs;
        job_set_progress(p->job, MIN2(message->bytes, m->layers_size), m->layers_size);
        /* One of the blobs is the configuration, the last to come. */
        job_set_layers(p->job, MIN2(message->blobs, (uint32_t) m->n_layers), (uint32_t) m->n_layers);
}

static void on_answer(const FetchAnswer *answer, void *userdata) {
        const FetchMessage *message = answer->message;
        Pull *p = userdata;
        bool copying = p->job->step == STEP_FETCH;

        if (!message && answer->error == -ECONNRESET)
                return fail(p, ERROR_PULL_FAILED, "The service that fetches images ended; see 'journalctl -u hero-image-fetch@*'.");
        if (!message)
                return fail_errno(p, answer->error, "The service that fetches images talks nonsense");
        switch (message->type) {

        case FETCH_PROGRESS:
                if (copying)
                        return on_copy_progress(p, message);
                break;

        case FETCH_DOCUMENT:
                if (p->job->step == STEP_RESOLVE && answer->n_fds == 1)
                        return on_document(p, answer->fds[0]);
                break;

        case FETCH_FILES:
                if (copying)
                        return on_files(p, answer);
                break;

        case FETCH_ERROR:
                return on_error(p, message);

        default:
                break;
        }
        fail_errno(p, -EBADMSG, "The service that fetches images answers what it was not asked");
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        char span[FORMAT_TIMESPAN_MAX];
        Pull *p = userdata;

        fail(p, ERROR_PULL_FAILED, "It took longer than PullTimeoutSec=%s.",
                        format_timespan(span, p->imaged->config.pull_timeout));
        return 0;
}

static int on_stall(sd_event_source *s, uint64_t usec, void *userdata) {
        char span[FORMAT_TIMESPAN_MAX];
        Pull *p = userdata;

        fail(p, ERROR_PULL_FAILED, "Nothing came for StallTimeoutSec=%s.",
                        format_timespan(span, p->imaged->config.stall_timeout));
        return 0;
}

/* What a digest says needs no registry: it is here or it is not. */
static Image *find_by_digest(Pull *p) {
        const char *digest = reference_digest(p->job->reference);
        const Tag *tag = catalog_tag(&p->imaged->catalog, p->job->reference);
        Image *i = digest && tag ? tag->image : NULL;

        if (i && image_is_complete(&p->imaged->catalog, i) &&
            oci_platform_matches(p->job->platform, strempty(i->record.config.platform)))
                return i;
        return digest ? catalog_find_whole(&p->imaged->catalog, digest) : NULL;
}

static int start(Pull *p) {
        sd_event *event = p->imaged->event;
        int r;

        r = fetch_client_new(event, on_answer, p, &p->client);
        if (r < 0)
                return r;
        job_set_step(p->job, STEP_RESOLVE);
        if (p->imaged->config.pull_timeout != USEC_INFINITY) {
                r = sd_event_add_time_relative(event, &p->timeout, CLOCK_MONOTONIC, p->imaged->config.pull_timeout, 0,
                                on_timeout, p);
                if (r < 0)
                        return r;
        }
        r = sd_event_add_time_relative(event, &p->stall, CLOCK_MONOTONIC, USEC_PER_SEC, 0, on_stall, p);
        return r < 0 ? r : inspect(p);
}

static int on_start(sd_event_source *s, void *userdata) {
        Pull *p = userdata;
        Image *image = find_by_digest(p);
        int r;

        p->start = sd_event_source_disable_unref(p->start);
        if (image) {
                job_done_with(p->job, image);
                return 0;
        }
        r = start(p);
        if (r == -ENOENT || r == -ECONNREFUSED)
                fail(p, ERROR_PULL_FAILED, "The service that fetches images is not there. Is hero-image-fetch.socket started?");
        else if (r < 0)
                fail_errno(p, r, "The service that fetches images cannot be asked");
        return 0;
}

/* Takes a place; the rest is done once the loop is back, so that the caller has its answer before the job can end. */
static int run(Pull *p) {
        int r;

        r = sd_event_add_defer(p->imaged->event, &p->start, on_start, p);
        if (r < 0)
                return r;
        p->running = true;
        p->imaged->n_pulls++;
        return 0;
}

void pulls_continue(Imaged *m) {
        Job *j, *next;

        for (j = TAILQ_FIRST(&m->jobs); j && m->n_pulls < m->config.pulls_max; j = next) {
                Pull *p = j->type == JOB_PULL ? j->work : NULL;
                int r;

                next = TAILQ_NEXT(j, jobs);
                if (!p || p->running)
                        continue;
                r = run(p);
                if (r < 0)
                        return (void) log_warning_errno(r, "Failed to go on with the pull of %s: %m", j->reference);
        }
}

int pull_new(Imaged *m, const char *reference, const char *platform, const char *sender, Job **ret, bool *ret_new,
                sd_bus_error *error) {
        _cleanup_(job_freep) Job *j = NULL;
        Job *joined = job_find_pull(m, reference, platform);
        Pull *p;
        int r;

        *ret_new = !joined;
        if (joined) {
                *ret = joined;
                return job_request(joined, sender, error);
        }
        r = job_new(m, JOB_PULL, reference, platform, &j, error);
        if (r >= 0)
                r = job_request(j, sender, error);
        if (r < 0)
                return r;
        p = new0(Pull, 1);
        if (!p)
                return -ENOMEM;
        *p = (Pull) { .job = j, .imaged = m };
        if (reference_digest(reference))
                strcpy(p->digest, reference_digest(reference));
        j->work = p;
        j->stop = pull_free;
        if (m->n_pulls < m->config.pulls_max) {
                r = run(p);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(j);
        return 0;
}
