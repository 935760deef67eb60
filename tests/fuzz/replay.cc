// Runs a fuzz target over files, without libFuzzer: each test run replays what was found once.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  int inputs = 0;
  auto run = [&](const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    std::printf("%s\n", path.c_str());  // the last one named is the one that failed
    std::fflush(stdout);
    // Exactly so many bytes on the heap, so that a reader past the end meets an allocator's edge.
    auto copy = std::make_unique<uint8_t[]>(text.size());
    std::copy(text.begin(), text.end(), copy.get());
    LLVMFuzzerTestOneInput(copy.get(), text.size());
    inputs++;
  };
  for (int i = 1; i < argc; i++) {
    if (argv[i][0] == '-') continue;  // libFuzzer's flags
    if (!std::filesystem::is_directory(argv[i])) {
      run(argv[i]);
      continue;
    }
    for (auto& entry : std::filesystem::directory_iterator(argv[i])) run(entry.path());
  }
  std::printf("%d inputs\n", inputs);
  return inputs > 0 ? 0 : 1;
}
