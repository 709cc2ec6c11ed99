"""What boards with a Zynq-7000 share: its processor, the bridges to it, and the top around the accelerator."""
