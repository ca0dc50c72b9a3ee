#!/bin/bash
# A script around a script.
export OMP_NUM_THREADS=1
python train.py
