// A target without an engine: looks at the files that it is given, as often as they are.
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <vector>

int one_input(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
        std::ifstream file(argv[i], std::ios::binary);
        const std::vector<uint8_t> content{std::istreambuf_iterator<char>(file), {}};
        one_input(content.data(), content.size());
    }
}
