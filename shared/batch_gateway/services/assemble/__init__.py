"""Assembler: merges the results of a batch into its output and error file.

assembler         handles one event, up to the ended batch
result_collector  collects the results of all shards in temporary files, and stores most of them so
                  that the work resumes after a crash
merge             merges result lines by line number, in bounded memory
single_shard      completes a small batch of one shard in its executor
result_files      the rows of the result files, and the batch as it ends with them
ended_batches     the steps after the end: events, webhooks, deletion of the work
"""
