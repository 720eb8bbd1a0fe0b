// A picture -> its verdict, with a DefectFlow model and ONNX Runtime's C++ API.
//
//     inspect models/bracket/model.onnx picture.ppm ...
//     inspect models/line/model.onnx --product ring picture.ppm ...
//
// One line per picture: file, decision, score, p-value; of a model of several products also by which one it was
// judged. Without --product that is the one that the picture resembles most. Exit code: 0 all ok or review, 1 any defective or invalid,
// 2 wrong use or an unusable picture. There is no pre-processing to re-write: the model takes the camera's pixels.

#define ORT_API_MANUAL_INIT  // so that a library older than its headers is an error message and not a crash
#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

// Rows from the top, three bytes per pixel in the order red, green, blue, no gaps between rows.
struct Picture {
    int64_t height, width;
    std::vector<uint8_t> rgb;
};

struct Verdict {
    int64_t decision;  // 0 ok, 1 review, 2 defect, 3 invalid
    float score;       // higher is worse
    float p_value;     // share of good parts that look at least as unusual
    int64_t product;   // its number in Inspector::products, where the model has several
};

constexpr int64_t kAnyProduct = -1;  // the one that the picture resembles most

class Inspector {
public:
    explicit Inspector(const std::filesystem::path& model) : session_(nullptr) {
        Ort::SessionOptions options;
        options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_ERROR);
        session_ = Ort::Session(environment_, model.c_str(), options);
        Ort::AllocatorWithDefaultOptions allocator;
        const auto names = session_.GetModelMetadata().LookupCustomMetadataMapAllocated("defectflow.products", allocator);
        if (names == nullptr) return;
        std::istringstream lines(names.get());
        for (std::string name; std::getline(lines, name);) products.push_back(name);
    }

    // Of a model of several products, in the order of their numbers; empty for a model of one.
    std::vector<std::string> products;

    int64_t number_of(const std::string& product) const {
        for (size_t i = 0; i < products.size(); ++i)
            if (products[i] == product) return static_cast<int64_t>(i);
        std::string known;
        for (const std::string& name : products) known += (known.empty() ? "" : ", ") + name;
        throw std::invalid_argument("product " + product + ": the model has " + (known.empty() ? "one product only" : known));
    }

    Verdict inspect(Picture& picture, int64_t product = kAnyProduct) {
        const std::array<int64_t, 4> shape{1, picture.height, picture.width, 3};
        const int64_t one = 1;
        Ort::Value given[] = {Ort::Value::CreateTensor<uint8_t>(memory_, picture.rgb.data(), picture.rgb.size(),
                                                                shape.data(), shape.size()),
                              Ort::Value::CreateTensor<int64_t>(memory_, &product, 1, &one, 1)};
        // "threshold" and its like have defaults: what was calibrated.
        const char* inputs[] = {"image", "product"};
        const char* outputs[] = {"decision", "score", "p_value", "product_index"};
        const bool several = !products.empty();
        const auto found = session_.Run(Ort::RunOptions{}, inputs, given, several ? 2 : 1, outputs, several ? 4 : 3);
        return {*found[0].GetTensorData<int64_t>(), *found[1].GetTensorData<float>(), *found[2].GetTensorData<float>(),
                several ? *found[3].GetTensorData<int64_t>() : 0};
    }

private:
    Ort::Env environment_{ORT_LOGGING_LEVEL_ERROR, "defectflow"};
    Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    Ort::Session session_;
};

// A whole number of a PPM file's header; comments start with '#'.
int64_t header_number(std::istream& file) {
    int64_t number = 0;
    while ((file >> std::ws).peek() == '#') {
        std::string comment;
        std::getline(file, comment);
    }
    return file >> number ? number : 0;
}

// A binary PPM file (P6, 8 bits): the simplest format, so that this example needs no other library. On a line the
// pixels come from the camera's own library instead.
Picture read_ppm(const std::string& name) {
    std::ifstream file(name, std::ios::binary);
    if (!file) throw std::runtime_error("cannot be opened");
    std::string kind;
    file >> kind;
    const int64_t width = header_number(file), height = header_number(file), white = header_number(file);
    if (kind != "P6" || width < 1 || height < 1 || width > 30000 || height > 30000 || white != 255)
        throw std::runtime_error("is not a binary PPM picture (P6) of 8 bits");
    file.get();  // the one byte of white space after the header
    Picture picture{height, width, std::vector<uint8_t>(static_cast<size_t>(height * width * 3))};
    if (!file.read(reinterpret_cast<char*>(picture.rgb.data()), static_cast<std::streamsize>(picture.rgb.size())))
        throw std::runtime_error("is cut short");
    return picture;
}

int main(int count, char** words) {
    static const char* const kDecisions[] = {"ok", "review", "defect", "invalid"};
    const bool named = count > 3 && std::string(words[2]) == "--product";
    const int first = named ? 4 : 2;
    if (count <= first) {
        std::fprintf(stderr, "use: %s model.onnx [--product NAME] picture.ppm ...\n", words[0]);
        return 2;
    }
    // ONNX Runtime's packages report to their maker over the network unless this is set before they are used.
    static char no_reports[] = "ORT_DISABLE_TELEMETRY=1";
    putenv(no_reports);
    const OrtApi* api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (api == nullptr) {
        std::fprintf(stderr, "ONNX Runtime %s is older than the headers that this was built with (1.%d)\n",
                     OrtGetApiBase()->GetVersionString(), ORT_API_VERSION);
        return 2;
    }
    Ort::InitApi(api);
    int code = 0;
    try {
        Inspector inspector(words[1]);
        const int64_t product = named ? inspector.number_of(words[3]) : kAnyProduct;
        for (int i = first; i < count; ++i) {
            try {
                Picture picture = read_ppm(words[i]);
                const Verdict verdict = inspector.inspect(picture, product);
                std::printf("%s %s %.6g %.6g", words[i], kDecisions[verdict.decision], verdict.score, verdict.p_value);
                if (!inspector.products.empty())
                    std::printf(" %s", inspector.products[static_cast<size_t>(verdict.product)].c_str());
                std::printf("\n");
                if (verdict.decision >= 2 && code == 0) code = 1;
            } catch (const std::exception& error) {  // one unusable picture stops nothing
                std::fprintf(stderr, "%s: %s\n", words[i], error.what());
                code = 2;
            }
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", words[1], error.what());
        return 2;
    }
    return code;
}
