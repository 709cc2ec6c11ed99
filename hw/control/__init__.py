"""Control: the sequencer, the units' queues and semaphores, and the units that move data between DDR and buffers."""
