// The rqat program: everything happens in cli/; the only catch of the project stands here.
#include <cstdio>
int main() { std::puts("rqat"); }
