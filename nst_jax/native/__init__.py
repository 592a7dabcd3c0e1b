"""Operations of our own for CPUs, in C++."""
