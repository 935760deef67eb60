#include "gateway/http/s3/xml.h"

#include <algorithm>

#include "core/base/text.h"
#include "core/base/utf8.h"

namespace cairn::s3 {

namespace {

constexpr size_t kDepthMax = 16;

bool is_xml_char(uint32_t c) {
  return c == 9 || c == 10 || c == 13 || (c >= 0x20 && c <= 0xd7ff) ||
         (c >= 0xe000 && c <= 0xfffd) || (c >= 0x10000 && c <= 0x10ffff);
}

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n") == text.npos; }

// "&name;" at the front: how long it is; 0: not one that every reader reads alike.
size_t reference_size(std::string_view text) {
  const size_t end = text.substr(0, 16).find(';');
  if (end == text.npos) return 0;
  std::string_view name = text.substr(1, end - 1);
  if (name == "amp" || name == "lt" || name == "gt" || name == "quot" || name == "apos") {
    return end + 1;
  }
  if (!name.starts_with('#')) return 0;
  name.remove_prefix(1);
  const bool hex = name.starts_with('x');
  if (hex) name.remove_prefix(1);
  auto c = parse_int<uint32_t>(name, hex ? 16 : 10);
  // Control characters are beyond XML 1.0, yet S3's clients send them so.
  return c && *c > 0 && *c <= 0x10ffff && (*c < 0xd800 || *c > 0xdfff) ? end + 1 : 0;
}

// A parser of tags alone, for what pugixml lets pass: references that it leaves as they are, text
// outside of the root, a second root, document types, depth without end.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_(text) {}

  bool well_formed() {
    if (!is_xml_text(rest_)) return false;
    if (rest_.starts_with("\xef\xbb\xbf")) rest_.remove_prefix(3);
    if (rest_.starts_with("<?xml ") && !skip("?>")) return false;
    while (!rest_.empty()) {
      if (!(rest_[0] == '<' ? markup() : text())) return false;
    }
    return depth_ == 0 && roots_ == 1;
  }

 private:
  bool skip(std::string_view end) {
    const size_t at = rest_.find(end);
    if (at == rest_.npos) return false;
    rest_.remove_prefix(at + end.size());
    return true;
  }
  bool references(std::string_view text) {
    for (size_t at = text.find('&'); at != text.npos; at = text.find('&', at)) {
      const size_t n = reference_size(text.substr(at));
      if (n == 0) return false;
      at += n;
    }
    return true;
  }
  bool text() {
    const std::string_view one = rest_.substr(0, rest_.find('<'));
    rest_.remove_prefix(one.size());
    if (depth_ == 0) return is_blank(one);
    return one.find("]]>") == one.npos && references(one);
  }
  bool markup() {
    if (rest_.starts_with("<!--")) {
      rest_.remove_prefix(4);
      const size_t dashes = rest_.find("--");
      return dashes != rest_.npos && rest_.substr(dashes + 2).starts_with('>') && skip("-->");
    }
    if (rest_.starts_with("<![CDATA[")) return depth_ > 0 && skip("]]>");
    if (rest_.starts_with("<!") || rest_.starts_with("<?")) return false;
    if (rest_.starts_with("</")) {
      if (depth_ == 0) return false;
      depth_--;
      return skip(">");
    }
    return start_tag();
  }
  bool start_tag() {
    if (depth_ == 0 && ++roots_ > 1) return false;
    if (depth_ >= kDepthMax) return false;
    char quote = 0;
    size_t at = 1;
    for (; at < rest_.size(); at++) {
      const char c = rest_[at];
      if (c == '<') return false;
      if (quote != 0) {
        if (c == quote) quote = 0;
      } else if (c == '"' || c == '\'') {
        quote = c;
      } else if (c == '>') {
        break;
      }
    }
    if (at >= rest_.size() || !references(rest_.substr(0, at))) return false;
    if (rest_[at - 1] != '/') depth_++;
    rest_.remove_prefix(at + 1);
    return true;
  }
  std::string_view rest_;
  size_t depth_ = 0;
  int roots_ = 0;
};

struct StringWriter : pugi::xml_writer {
  std::string out = kXmlHead;
  void write(const void* data, size_t size) override {
    // A carriage return as it is would be read back as a line feed.
    std::string_view text(static_cast<const char*>(data), size);
    for (size_t at; (at = text.find('\r')) != text.npos; text.remove_prefix(at + 1)) {
      out.append(text.substr(0, at)).append("&#13;");
    }
    out.append(text);
  }
};

bool stands_for_itself(char c) {
  const auto u = static_cast<unsigned char>(c);
  return (u >= 0x20 || c == '\t' || c == '\n') && c != '&' && c != '<' && c != '>';
}

}  // namespace

bool is_xml_text(std::string_view text) {
  while (!text.empty()) {
    uint32_t c;
    const size_t n = decode_utf8(text, c);
    if (n == 0 || !is_xml_char(c)) return false;
    text.remove_prefix(n);
  }
  return true;
}

bool can_be_written(std::string_view text) {
  while (!text.empty()) {
    uint32_t c;
    const size_t n = decode_utf8(text, c);
    if (n == 0 || c == 0 || c == 0xfffe || c == 0xffff) return false;
    text.remove_prefix(n);
  }
  return true;
}

bool XmlIn::parse(const std::string& text, std::string_view root) {
  if (!Scanner(text).well_formed()) return false;
  constexpr unsigned kFlags = pugi::parse_cdata | pugi::parse_escapes | pugi::parse_eol |
                              pugi::parse_comments | pugi::parse_declaration |
                              pugi::parse_ws_pcdata;
  if (!document_.load_buffer(text.data(), text.size(), kFlags, pugi::encoding_utf8)) return false;
  for (auto node : document_.children()) {
    const char* encoding = node.attribute("encoding").value();
    if (node.type() == pugi::node_declaration && *encoding != '\0' &&
        !equals_ignoring_case(encoding, "utf-8")) {
      return false;
    }
  }
  return std::string_view(document_.document_element().name()) == root;
}

std::optional<std::string> text_of(const pugi::xml_node& element) {
  std::string out;
  for (auto child : element.children()) {
    if (child.type() == pugi::node_pcdata || child.type() == pugi::node_cdata) {
      out += child.value();
    } else if (child.type() != pugi::node_comment) {
      return std::nullopt;
    }
  }
  return out;
}

bool only_elements(const pugi::xml_node& element, std::string_view names) {
  const std::string all = cat(" ", names, " ");
  for (auto child : element.children()) {
    switch (child.type()) {
      case pugi::node_element:
        if (all.find(cat(" ", child.name(), " ")) == all.npos) return false;
        break;
      case pugi::node_pcdata:
        if (!is_blank(child.value())) return false;
        break;
      case pugi::node_comment:
        break;
      default:
        return false;
    }
  }
  return true;
}

pugi::xml_node single(const pugi::xml_node& element, const char* name, bool& twice) {
  auto first = element.child(name);
  twice = twice || first.next_sibling(name);
  return first;
}

XmlOut::XmlOut(const char* root, bool with_namespace) {
  auto node = document_.append_child(root);
  if (with_namespace) {
    node.append_attribute("xmlns").set_value("http://s3.amazonaws.com/doc/2006-03-01/");
  }
}

std::string XmlOut::text() const {
  StringWriter writer;
  writer.out.reserve(tail_.size() + 2048);
  document_.save(writer, "", pugi::format_raw | pugi::format_no_declaration, pugi::encoding_utf8);
  if (!tail_.empty()) {
    const size_t end = writer.out.rfind("</");  // of the root, which has other elements
    const std::string closing = writer.out.substr(end);
    writer.out.replace(end, writer.out.npos, tail_).append(closing);
  }
  return std::move(writer.out);
}

void append_as_it_came(std::string& out, std::string_view name, std::string_view text) {
  out.append("<").append(name).append(">");
  while (!text.empty()) {
    const auto end = std::find_if_not(text.begin(), text.end(), stands_for_itself);
    const auto plain = static_cast<size_t>(end - text.begin());
    out.append(text.substr(0, plain));
    if (plain == text.size()) break;
    out.append("&#").append(cat(int{text[plain]})).append(";");
    text.remove_prefix(plain + 1);
  }
  out.append("</").append(name).append(">");
}

void add_as_it_came(pugi::xml_node parent, const char* name, const std::string& text) {
  parent.append_child(name).append_child(pugi::node_pcdata).set_value(text.c_str());
}

pugi::xml_node add(pugi::xml_node parent, const char* name, std::string_view text) {
  std::string held;
  while (!text.empty()) {
    uint32_t c;
    const size_t n = decode_utf8(text, c);
    if (n == 0 || !is_xml_char(c)) {
      held.push_back('?');
    } else {
      held.append(text.substr(0, n));
    }
    text.remove_prefix(std::max<size_t>(n, 1));
  }
  auto node = parent.append_child(name);
  if (!held.empty()) node.append_child(pugi::node_pcdata).set_value(held.c_str());
  return node;
}

pugi::xml_node add(pugi::xml_node parent, const char* name, uint64_t number) {
  return add(parent, name, std::string_view(cat(number)));
}

void add_etag(pugi::xml_node parent, std::string_view etag) {
  add(parent, "ETag", std::string_view(cat("\"", etag, "\"")));
}

}  // namespace cairn::s3
