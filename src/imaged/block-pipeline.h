/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Blocks of contents on their way into an image: filled by one thread, compressed by others, written by the
 * first in the order they came. Instead of libsquashfs's own (sqfs_block_processor), which keeps a record of
 * every small file and every block to find what is there twice, by a hash of 32 bits: more memory than all
 * the names of an image, a search through all blocks for every file, and contents of other files unless
 * everything is read back. What an image has twice, it has in two layers, and that is found out by name
 * (layer-merge.h).
 *
 * The memory is that of the slots, 256 KiB each. */

#include "imaged/squashfs-compressor.h"
#include "imaged/squashfs-file.h"

typedef struct BlockPipeline BlockPipeline;

/* A block was written. stored: its size in the file, 0 for a hole; with bit 24 set when it is not
 * compressed, as SquashFS writes it. */
typedef void (*block_written_t)(
                void *token, uint32_t index, uint64_t location, uint32_t stored, uint32_t size);

/* Starts the threads. An SQFS_ERROR, here and below. */
int block_pipeline_new(SquashfsFile *file, const sqfs_compressor_t *compressor, unsigned n_threads,
                BlockPipeline **ret);
BlockPipeline *block_pipeline_free(BlockPipeline *p); /* what is under way is forgotten */
DEFINE_TRIVIAL_CLEANUP_FUNC(BlockPipeline *, block_pipeline_free);

/* Where the next block goes, SQUASHFS_BLOCK_SIZE bytes. */
uint8_t *block_pipeline_buffer(BlockPipeline *p);

/* Exchanges that for another of the same size. */
void block_pipeline_swap_buffer(BlockPipeline *p, uint8_t **buffer);

/* Sends it on its way; holes: when it is nothing but zeros, it need not be written. written is called later,
 * from a submit or flush. */
int block_pipeline_submit(BlockPipeline *p, uint32_t size, bool holes, block_written_t written, void *token,
                uint32_t index);

/* Waits until all are written. */
int block_pipeline_flush(BlockPipeline *p);
